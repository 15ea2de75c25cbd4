"""What int16 activations of the N worst layers do to the logits; docs/calibration.md has tables.

    python benchmarks/int16_layers.py RUN --images 256
    python benchmarks/int16_layers.py RUN --images 256 --widen 20

With --widen the ranges of residuals and of what attention adds to them are that much wider than
calibration found: as one freak image makes them with the min-max observer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from qlvit_edge.calibration.evaluation_images import images_for_layers
from qlvit_edge.calibration.file import Calibration, load_calibration
from qlvit_edge.calibration.int16_choice import worst_candidates
from qlvit_edge.calibration.sensitivity import Cost, cost_of, measure
from qlvit_edge.cli.progress import progress_bar
from qlvit_edge.converters.int16_layers import int16_candidates, with_int16_layers
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, load_checkpoint

COUNTS = (1, 3, 8, 1000)
MEASURED_ON = 32
WIDENED = ("/residual", "/joined", "/project")


def widened(calibration: Calibration, factor: float) -> Calibration:
    """Return the calibration with some ranges `factor` times as wide."""
    tensors = dict(calibration.tensors)
    for name, tensor in calibration.tensors.items():
        if name.endswith(WIDENED):
            low, high = calibration.ranges()[name]
            wide = (factor * low, factor * high)
            tensors[name] = tensor.model_copy(update={"minmax": wide, calibration.observer: wide})
    return calibration.model_copy(update={"tensors": tensors})


def show(label: str, cost: Cost) -> None:
    """Print one row."""
    print(
        f"| {label} | {cost.sqnr_db or 0:.1f} dB | {cost.relative_rms:.1%} "
        f"| {cost.agreement:.1%} |",
        flush=True,
    )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--widen", type=float, default=1.0)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.run)
    calibration = load_calibration(options.run / CALIBRATION_FILE, checkpoint.sha256)
    chosen = images_for_layers(checkpoint, calibration, None, options.images, False)
    views = chosen.views(checkpoint.run.network)
    calibration = widened(calibration, options.widen)
    some = views[:: max(1, len(views) // MEASURED_ON)][:MEASURED_ON]
    found = measure(checkpoint, calibration, "fast", some, None, progress_bar, both=False)
    plain = integer_graph(checkpoint, calibration, "fast")
    ranges = {name: tensor.minmax for name, tensor in calibration.tensors.items()}
    print(f"{len(views)} images, ranges by {calibration.observer}, {options.widen:g} times as wide")
    print(
        "| layers in int16 | SQNR of the logits | off by | same class as float |\n|---|---|---|---|"
    )
    show("none", cost_of(checkpoint, plain, views))
    for count in COUNTS:
        chosen, _ = worst_candidates(found, int16_candidates(plain), count)
        names = [cost.layer for cost in chosen]
        label = f"{len(names)}: {', '.join(names)}" if count <= 3 else f"{len(names)}"
        show(label, cost_of(checkpoint, with_int16_layers(plain, names, ranges).graph, views))


if __name__ == "__main__":
    main()
