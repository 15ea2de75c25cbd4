"""What `convert` says when integers cost too much accuracy: which layers, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from qlvit_edge.calibration.blame import Blame

NAMED = 3


def print_blame(blame: Blame, folder: Path, int16_layers: int | None = None) -> None:
    """Print the layers that cost most, and a remedy.

    Args:
        blame: the layers.
        folder: the run folder.
        int16_layers: how many layers were in int16 already; None for none.
    """
    before = ", before any was in int16" if int16_layers else ""
    click.echo(
        f"Layers that cost most, alone in integers in the float network{before}, on "
        f"{counted(blame.images, 'image')}:"
    )
    for layer in blame.layers[:NAMED]:
        click.echo(
            f"  {layer.layer}: {layer.share:.1%} of the noise; the logits are off by "
            f"{layer.relative_rms:.1%}"
        )
    click.echo(
        f"Try another observer (`qlvit-edge calibrate {folder} --compare` measures all; "
        f"this one is {blame.observer}), or more than {blame.calibration_images} "
        f"calibration images; or keep {'more' if int16_layers else 'the worst'} layers in int16 "
        f"with --int16-layers {(int16_layers or 0) + NAMED}, which is slower."
    )
