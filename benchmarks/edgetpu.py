"""What an Edge TPU would run of each size, by the documented rules: no device is needed.

Weights are untrained and ranges made up: operators, shapes, MACs, parameters and round trips
do not depend on them. Prints a table, or JSON with --json.

    python benchmarks/edgetpu.py --sizes nano,tiny,paper --share 0.85
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from qlvit_edge.converters.edgetpu.chain import SMALLEST_SHARE, cut_graph, cut_report
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Int8
from qlvit_edge.converters.idioms.scales import ScaleRequests
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.model.configs import size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.edgetpu_forecast import forecast
from qlvit_edge.modelfile.edgetpu_report import report_forecast
from qlvit_edge.modelfile.reader import read_document


def graph_of(size: str, target: type[Int8]) -> Graph:
    """Lower a size with untrained weights."""
    torch.manual_seed(0)
    return lower(QLViT(size_config(size)).eval(), Writer(size, target(ScaleRequests())))


def figures(size: str, smallest_share: float) -> dict[str, Any]:
    """Return what the rules say about a size, and what saving round trips down to a share does."""
    native = report_forecast(forecast(read_document(write_tflite(graph_of(size, Int8)))))
    graph = graph_of(size, EdgeTpu)
    lowered = report_forecast(forecast(read_document(write_tflite(graph))))
    found: dict[str, Any] = {
        "size": size,
        "native_one_file_share": native.monolithic.share,
        "native_mapped_share": native.mapped.share,
        "edgetpu_one_file_share": lowered.monolithic.share,
        "edgetpu_mapped_share": lowered.mapped.share,
        "mmacs": graph.macs() / 1e6,
    }
    for name, share in (("all", 1.0), ("saving", smallest_share)):
        report = cut_report(cut_graph(graph, share), None)
        found[name] = {
            key: getattr(report, key)
            for key in (
                "round_trips",
                "tpu_macs_share",
                "border_bytes",
                "tpu_parameter_bytes",
                "parameters",
            )
        }
    return found


def main() -> None:
    """Print the figures of the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="nano,tiny,paper")
    parser.add_argument("--share", type=float, default=SMALLEST_SHARE)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [figures(size, options.share) for size in options.sizes.split(",")]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['size']}: {row['mmacs']:.1f} MMAC; native graph as one file "
            f"{row['native_one_file_share']:.1%}, Edge TPU lowering as one file "
            f"{row['edgetpu_one_file_share']:.1%} of the MACs mapped"
        )
        kept = {"all": "all convolutions", "saving": f"at least {options.share:.0%}"}
        for name, what in kept.items():
            chain = row[name]
            print(
                f"  chain ({what} on it): {chain['tpu_macs_share']:.1%} of the MACs, "
                f"{chain['round_trips']} round trips, {chain['border_bytes'] / 1024:.0f} KiB "
                f"across, {chain['tpu_parameter_bytes'] / 2**20:.2f} MiB of parameters "
                f"({chain['parameters']})"
            )


if __name__ == "__main__":
    main()
