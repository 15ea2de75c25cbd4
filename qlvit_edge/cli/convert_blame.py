"""What `convert` says when integers cost too much accuracy: which layers, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qlvit_edge.integer.log2_softmax import Form
    from qlvit_edge.training.checkpoint import Checkpoint

IMAGES = 32
NAMED = 3


def blame(
    checkpoint: Checkpoint, softmax: Form, views: NDArray[np.uint8], mixed: int | None = None
) -> list[dict[str, Any]]:
    """Measure the layers, print the worst with a remedy, and return them all, worst first.

    Args:
        checkpoint: the network whose conversion failed; its calibration is there.
        softmax: form of the integer softmax.
        views: (N, h, w, channels) uint8 images of the proof; 32 of them are measured.
        mixed: how many layers were in int16 already; None for none.

    Returns:
        For each layer its name, its share of the noise and the error of the logits with this
        layer alone in integers.
    """
    from qlvit_edge.calibration.file import load_calibration
    from qlvit_edge.calibration.sensitivity import measure
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.choose import evenly
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE

    calibration = load_calibration(checkpoint.folder / CALIBRATION_FILE, checkpoint.sha256)
    some = views[evenly(len(views), IMAGES)]
    found = measure(checkpoint, calibration, softmax, some, None, progress_bar, both=False)
    worst = found.worst()
    before = ", before any was in int16" if mixed else ""
    click.echo(
        f"Layers to blame, alone in integers in the float network{before}, on {len(some)} images:"
    )
    for cost in worst[:NAMED]:
        click.echo(
            f"  {cost.layer}: {cost.share:.1%} of the noise; the logits are off by "
            f"{cost.alone.relative_rms:.1%}"
        )
    click.echo(
        f"Try another observer (`qlvit-edge calibrate {checkpoint.folder} --compare` measures all; "
        f"this one is {calibration.observer}), or more than {len(calibration.images)} "
        f"calibration images; or keep {'more' if mixed else 'the worst'} layers in int16 with "
        f"--mixed {(mixed or 0) + NAMED}, which is slower."
    )
    return [
        {"layer": cost.layer, "share": cost.share, "relative_rms": cost.alone.relative_rms}
        for cost in worst
    ]
