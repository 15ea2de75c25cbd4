"""Hashes of the files that conversion writes, to compare two states of the code.

    python benchmarks/written_files.py [--members N] > before.txt
    …
    python benchmarks/written_files.py [--members N] | diff before.txt -

Every bundled model and random members of the family; float with either softmax, int8, int16
layers and the Edge TPU with its chain, both forms of the softmax. A member that cannot be
converted is hashed by its error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import get_args

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from qlvit_edge import bundled
from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.converters.edgetpu.chain import cut_graph
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.int16_layers import int16_candidates, with_int16_layers
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.family import SOFTMAXES
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import load_checkpoint

HELPERS = Path(__file__).resolve().parents[1] / "tests" / "helpers"
SEED = 20261126


def files(network: QLViT, scales: ScaleTable) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield what is written, by name, and how."""
    for softmax in SOFTMAXES:
        twin = Writer("f", Float(softmax))
        yield f"float {softmax}", lambda w=twin: write_tflite(lower(network, w))
    for form in get_args(Form):

        def graph(target: type[Int8], form: Form = form) -> Graph:
            return lower(network, Writer("n", target(scales, form)))

        def int16(make: Callable[[type[Int8]], Graph] = graph) -> bytes:
            plain = make(Int8)
            chosen = sorted(int16_candidates(plain))[::2]
            return write_tflite(with_int16_layers(plain, chosen, scales.ranges).graph)

        def chain(make: Callable[[type[Int8]], Graph] = graph) -> bytes:
            segments = sorted(cut_graph(make(EdgeTpu)).files.items())
            return b"".join(name.encode() + content for name, content in segments)

        yield f"int8 {form}", lambda make=graph: write_tflite(make(Int8))
        yield f"int16 {form}", int16
        yield f"edgetpu {form}", lambda make=graph: write_tflite(make(EdgeTpu))
        yield f"chain {form}", chain


def show(name: str, network: QLViT, scales: ScaleTable) -> None:
    """Print a line per file."""
    for kind, make in files(network, scales):
        try:
            digest = sha256(make()).hexdigest()
        except QLViTEdgeError as error:
            digest = sha256(str(error).encode()).hexdigest()
        print(f"{digest}  {name}, {kind}", flush=True)


def show_members(count: int) -> None:
    """Draw random members and print their files."""
    sys.path.insert(0, str(HELPERS))
    from random_networks import configs, observed, random_network

    drawn: list[int] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(configs(), st.integers(0, 2**31))
    def members(config, number) -> None:
        network = random_network(config, number)
        show(f"member {len(drawn)}", network, ScaleTable(*observed(network, number)))
        drawn.append(number)

    members()


def main() -> None:
    """Print the hashes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", type=int, default=40)
    options = parser.parse_args()
    for name in bundled.names():
        checkpoint = load_checkpoint(bundled.resolve_run(name))
        calibration = calibration_of(checkpoint)
        show(name, checkpoint.network, ScaleTable(calibration.ranges(), calibration.anchors))
    show_members(options.members)


if __name__ == "__main__":
    main()
