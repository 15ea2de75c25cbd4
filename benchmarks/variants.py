"""What each member of the family costs, in time and in rounding.

    python benchmarks/variants.py [--size nano|tiny|paper] [--rounds 40]

The weights are random (seed 0); normalisation and ranges have seen the bundled crops. Time is
that of the int8 file on the default kernels, in turns, as a ratio to the first member. Rounding
is the integer graph (NumPy reference, `fast` softmax) against its float twin on the same crops,
relative RMS: of the outputs of all blocks (the largest), of the KANs or MLPs and of LayerNorm's
standardised values (medians), and of the logits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import untrained

from qlvit_edge import bundled
from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.worker import Case
from qlvit_edge.measuring.benchmark import measure
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.configs import SIZES
from qlvit_edge.model.cost import count_cost
from qlvit_edge.model.dynamic_conv import set_temperature
from qlvit_edge.model.family import FAMILY
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import Checkpoint

MEMBERS: dict[str, Mapping[str, object]] = {
    "V4, linear KAN, BatchNorm": FAMILY["v4"],
    "V4, cubic KAN": FAMILY["cubic"],
    "V4, LayerNorm": FAMILY["layer norm"],
    "V4, cubic KAN, LayerNorm": {**FAMILY["cubic"], **FAMILY["layer norm"]},
    "V4, keys and values pooled 2,2,1,1": FAMILY["pooled keys"],
    "V3": FAMILY["v3"],
    "V3, LayerNorm": {**FAMILY["v3"], **FAMILY["layer norm"]},
    "V2": FAMILY["v2"],
    "V0": FAMILY["v0"],
    "MViTv2": FAMILY["mvitv2"],
}
SETTLING = 30  # passes until running means and ranges have settled
CROPS = 12  # as many, evenly chosen
WARM_UP = 3


def settle(checkpoint: Checkpoint, images: np.ndarray) -> None:
    """Let normalisation and quantisers see images (N, h, w, 3) as training would."""
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    set_temperature(checkpoint.network, 1.0)
    checkpoint.network.train()
    with torch.no_grad():
        for _ in range(SETTLING):
            checkpoint.network(batch)
    checkpoint.network.eval()


def rounding(checkpoint: Checkpoint, graph: Graph, images: np.ndarray) -> dict[str, float]:
    """Return the relative RMS error of every activation that both graphs name."""
    twin = float_graph(checkpoint.network, "twin")
    run = Interpreter(write_tflite(twin), kernels=Kernels.BUILTIN, keep_all_tensors=True)
    tensors = {t.name: t for t in graph.tensors() if t.data is None and t.quantisation}
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for image in images:
        run.invoke(image[None].astype(np.float32))
        exact = run.tensors()
        stored = run_reference(graph, {graph.inputs[0].name: image[None]}, keep_all=True)
        for name in tensors.keys() & exact.keys():
            real = exact[name].astype(np.float64)
            signal[name] = signal.get(name, 0.0) + float(np.square(real).sum())
            error = tensors[name].real(stored[name]) - real
            noise[name] = noise.get(name, 0.0) + float(np.square(error).sum())
    return {name: (noise[name] / signal[name]) ** 0.5 for name in signal if signal[name] > 0}


def summary(found: dict[str, float]) -> dict[str, float | None]:
    """Return the columns of the table."""

    def middle(*endings: str) -> float | None:
        values = [value for name, value in found.items() if name.endswith(endings)]
        return statistics.median(values) if values else None

    return {
        "blocks": max(value for name, value in found.items() if name.endswith("/out")),
        "KAN, MLP": middle("/kan/up", "/mlp"),
        "norms": middle("/norm"),
        "logits": found["logits"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    crops = scan(bundled.CROPS).images
    crops = crops[:: -(-len(crops) // CROPS)]
    size = SIZES[options.size].input_size
    images = np.stack([load(crop.path, size) for crop in crops])
    errors: dict[str, dict[str, float | None]] = {}
    costs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for index, (name, changes) in enumerate(MEMBERS.items()):
            checkpoint = untrained(options.size, **changes)
            settle(checkpoint, images)
            calibration = calibrate(checkpoint, crops, "minmax", lambda: None)
            graph = integer_graph(checkpoint, calibration, "fast")
            path = Path(folder) / f"{index}.tflite"
            path.write_bytes(write_tflite(graph))
            cases.append(Case(name, path, 1))
            errors[name] = summary(rounding(checkpoint, graph, images))
            costs[name] = count_cost(checkpoint.run.network).true
        rows = measure(cases, options.rounds, WARM_UP)
        sizes = [case.path.stat().st_size for case in cases]
    print(f"{options.size}, {len(images)} crops, one thread. {describe_machine().words}\n")
    columns = list(next(iter(errors.values())))
    print(f"| {'member':34} | M parameters |   MMAC |   kB | time | {' | '.join(columns)} |")
    print(f"|{'-' * 36}|-------------:|-------:|-----:|-----:|{'--:|' * len(columns)}")
    for (name, error), row, held in zip(errors.items(), rows, sizes, strict=True):
        shown = " | ".join("–" if v is None else f"{v:.3f}" for v in error.values())
        cost = costs[name]
        print(
            f"| {name:34} | {cost.parameters / 1e6:12.2f} | {cost.macs / 1e6:6.1f} "
            f"| {held / 1e3:4.0f} | {statistics.median(row.ratios):4.2f} | {shown} |"
        )


if __name__ == "__main__":
    main()
