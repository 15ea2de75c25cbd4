"""How far the int8 files are from what the runtime's matrix product could do.

    python benchmarks/floor.py [--sizes paper,tiny,nano] [--threads 1,2] [--rounds 40]

For each number of threads, everything takes turns in one run: a large int8 1×1 convolution,
which gives the rate (multiply-accumulates a second) that the runtime reaches, and for each size
the int8 file (random weights, calibrated on bundled crops: times do not depend on them) and its
float32 twin. The floor of a file is its multiply-accumulates at that rate. The file's own
operators count (some ways of writing a layer multiply more than the layer itself); the second
ratio takes those of the network as PyTorch computes it, whatever the file does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from networks import build, gemm, twin, untrained

from qlvit_edge.inference.worker import Case
from qlvit_edge.measuring.benchmark import Row, measure
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.cost import count_cost

WARM_UP = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="paper,tiny,nano")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = options.sizes.split(",")
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), sizes)
        network_macs = {size: count_cost(untrained(size).run.network).true.macs for size in sizes}
        found: list[dict[str, Any]] = []
        for threads in map(int, options.threads.split(",")):
            cases = [Case(name, path, threads) for name, path in files.items()]
            rows = {row.case.model: row for row in measure(cases, options.rounds, WARM_UP)}
            found += [figures(size, threads, rows, network_macs[size]) for size in sizes]
    machine = describe_machine()
    print(machine.words)
    print(f"{options.rounds} rounds in turns; ratios are medians over the rounds\n")
    heads: tuple[str, ...] = (
        "size",
        "threads",
        "MMAC",
        "GEMM GMAC/s",
        "floor ms",
        "int8 ms",
        "/ floor",
    )
    heads += ("/ floor of the network's MMAC", "float32 ms", "float32 / int8", "partitions")
    print(f"| {' | '.join(heads)} |")
    print(f"|{'|'.join('---:' for _ in heads)}|")
    for row in found:
        cells = [
            row["size"],
            str(row["threads"]),
            f"{row['macs'] / 1e6:.1f}",
            f"{row['gemm_gmacs_per_second']:.0f}",
            f"{row['floor_ms']:.3f}",
            f"{row['int8_ms']:.3f}",
            f"{row['to_floor']:.2f}",
            f"{row['to_network_floor']:.2f} ({row['network_macs'] / 1e6:.1f})",
            f"{row['float_ms']:.3f}",
            f"{row['float_to_int8']:.2f}",
            str(row["partitions"]),
        ]
        print(f"| {' | '.join(cells)} |")
    if options.json:
        options.json.write_text(
            json.dumps({"machine": asdict(machine), "rows": found}, indent=2) + "\n"
        )


def write_files(folder: Path, sizes: list[str]) -> dict[str, Path]:
    """Write the large convolution and, for each size, the int8 file and its float32 twin."""
    content = {"gemm": gemm()}
    for size in sizes:
        checkpoint = untrained(size)
        content[size] = build(checkpoint)
        content[f"{size} float32"] = twin(checkpoint, "log2")
    files = {}
    for name, data in content.items():
        files[name] = folder / f"{name.replace(' ', '-')}.tflite"
        files[name].write_bytes(data)
    return files


def figures(size: str, threads: int, rows: dict[str, Row], network_macs: int) -> dict[str, Any]:
    """Return the figures of one size; ratios are of the times within a round."""
    reference, own, floating = rows["gemm"], rows[size], rows[f"{size} float32"]
    rate = reference.facts.macs / float(np.median(reference.milliseconds))  # MAC per ms
    to_gemm = np.array(own.ratios)  # the first row is the large convolution
    share = own.facts.macs / reference.facts.macs
    to_floor = float(np.median(to_gemm / share))
    return {
        "size": size,
        "threads": threads,
        "macs": own.facts.macs,
        "network_macs": network_macs,
        "gemm_gmacs_per_second": rate / 1e6,
        "floor_ms": own.facts.macs / rate,
        "int8_ms": float(np.median(own.milliseconds)),
        "to_floor": to_floor,
        "to_network_floor": to_floor * own.facts.macs / network_macs,
        "float_ms": float(np.median(floating.milliseconds)),
        "float_to_int8": float(np.median(np.array(floating.ratios) / to_gemm)),
        "partitions": own.facts.partitions,
    }


if __name__ == "__main__":
    main()
