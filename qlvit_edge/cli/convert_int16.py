"""What `convert --mixed` does besides: choosing layers for int16, and saying what they cost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import table_console

if TYPE_CHECKING:
    from qlvit_edge.calibration.int16_choice import Lifting
    from qlvit_edge.calibration.sensitivity import Cost
    from qlvit_edge.integer.log2_softmax import Form
    from qlvit_edge.training.checkpoint import Checkpoint

IMAGES = 32
ROUNDS = 11
REPEATS = 3


def lift_layers(
    checkpoint: Checkpoint,
    softmax: Form,
    data: Path | None,
    split_path: Path | None,
    count: int,
    bundled: bool,
) -> Lifting:
    """Measure the layers on images outside calibration and test, and lift the worst.

    Args:
        checkpoint: the trained and calibrated network.
        softmax: form of the integer softmax.
        data: folder of images; None: what the run records, for a bundled run the bundled crops.
        split_path: split of the proof, whose test images do not choose layers.
        count: layers to lift.
        bundled: whether the run is one.

    Raises:
        QLViTEdgeError: see `images_of` and `lift_worst`.
    """
    import numpy as np

    from qlvit_edge.calibration.file import load_calibration
    from qlvit_edge.calibration.int16_choice import lift_worst
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.cli.sensitivity import images_of
    from qlvit_edge.preprocess import load
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE

    calibration = load_calibration(checkpoint.folder / CALIBRATION_FILE, checkpoint.sha256)
    network = checkpoint.run.network
    judged = images_of(checkpoint, calibration, data, IMAGES, bundled, split_path)
    views = np.stack(
        [load(image.path, network.input_size, network.channels) for image in judged.images]
    )
    return lift_worst(checkpoint, calibration, softmax, views, count, progress_bar)


def report_lifting(lifting: Lifting, model: bytes) -> dict[str, Any]:
    """Time the file against the plain int8 one, print what was lifted, return it for JSON.

    Args:
        lifting: what was lifted.
        model: the converted file.

    Returns:
        `layers` (name, share of the noise, activations in int16), `skipped`, and of the `plain`
        and the `mixed` file the logits' error, the median time in milliseconds, and how much
        longer the second takes (`time_ratio`).
    """
    plain_ms, mixed_ms, ratio = _times(lifting, model)
    lifted = lifting.lifted.activations
    report: dict[str, Any] = {
        "images": lifting.images,
        "layers": [
            {"layer": c.layer, "share": c.share, "int16": list(lifted[c.layer])}
            for c in lifting.chosen
        ],
        "skipped": list(lifting.skipped),
        "plain": {**_error(lifting.before), "p50_ms": plain_ms},
        "mixed": {**_error(lifting.after), "p50_ms": mixed_ms},
        "time_ratio": ratio,
    }
    _print(report)
    return report


def _error(cost: Cost) -> dict[str, Any]:
    return {
        "sqnr_db": cost.sqnr_db,
        "relative_rms": cost.relative_rms,
        "agreement": cost.agreement,
    }


def _times(lifting: Lifting, model: bytes) -> tuple[float, float, float]:
    """Run both files in turns; medians in milliseconds, and the median ratio of a round."""
    import statistics

    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.tflite import write_tflite
    from qlvit_edge.runtime.benchmark import take_turns
    from qlvit_edge.runtime.worker import Case, Worker

    with tempfile.TemporaryDirectory() as folder:
        plain, mixed = Path(folder) / "int8.tflite", Path(folder) / "mixed.tflite"
        plain.write_bytes(write_tflite(lifting.plain))
        mixed.write_bytes(model)
        with (
            Worker(Case("int8", plain)) as first,
            Worker(Case("mixed", mixed)) as second,
            progress_bar("timing against int8", ROUNDS + 1) as advance,
        ):
            times, ratios = take_turns([first, second], ROUNDS, 1, advance, REPEATS)
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios[1])


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"Layers in int16, the worst on {report['images']} images")
    for heading in ("layer", "share of the noise", "activations in int16"):
        table.add_column(heading)
    for layer in report["layers"]:
        names = (name.removeprefix(f"{layer['layer']}/") for name in layer["int16"])
        table.add_row(layer["layer"], f"{layer['share']:.1%}", ", ".join(names))
    table_console().print(table)
    for layer in report["skipped"]:
        click.echo(f"note: {layer} stays int8: none of its activations can be int16")
    before, after = report["plain"], report["mixed"]
    click.echo(
        f"logits off by {before['relative_rms']:.2%} in int8, {after['relative_rms']:.2%} now; "
        f"same class as float {before['agreement']:.1%}, {after['agreement']:.1%} now"
    )
    if after["relative_rms"] >= before["relative_rms"]:
        click.echo("note: no gain: most of the noise is from what stays int8, as softmaxes do")
    click.echo(
        f"an inference takes {report['time_ratio']:.2f} times as long, one thread, in turns: "
        f"{before['p50_ms']:.2f} ms in int8, {after['p50_ms']:.2f} ms now"
    )
