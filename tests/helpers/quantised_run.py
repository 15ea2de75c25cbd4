"""A calibrated run to train on as integers, and the command that does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import small_config, write_folder, write_run

from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import select
from qlvit_edge.data.training_images import list_training_images, write_training_images
from qlvit_edge.files import write_text
from qlvit_edge.training.checkpoint import (
    CALIBRATION_FILE,
    Checkpoint,
    load_checkpoint,
    read_run_config,
    write_run_config,
)


def calibrated_run(root: Path) -> Path:
    """Write a calibrated run `float` and its `cells` into a folder."""
    cells = write_folder(root / "cells", 8)
    split = write_run(root / "float", cells, small_config())
    run = read_run_config(root / "float")
    held = run.training.model_copy(update={"validation": 0.3, "hold_out_draw": 2})
    write_run_config(root / "float", run.model_copy(update={"training": held}))
    side = select(scan(cells), split.train)
    listed = list_training_images(side, split.fingerprint, lambda: None)
    write_training_images(root / "float", listed)
    checkpoint = load_checkpoint(root / "float")
    found = calibrate(checkpoint, side[:4], "minmax", lambda: None)
    write_text(root / "float" / CALIBRATION_FILE, found.model_dump_json())
    return root


def arguments(place: Path, out: Path, *options: object) -> list[object]:
    own = ("--from", place / "float", "--out", out, "--batch", 8, "--rate", 0.001)
    return ["train", "--quantise", *own, *options]


def without_report(patch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of the float network, which are those of any training."""
    patch.setattr(
        "qlvit_edge.quantised.session.finish",
        lambda run, out, *others: write_text(out / "metrics.json", "{}"),
    )


def changed(checkpoint: Checkpoint, other: Checkpoint) -> set[str]:
    mine, there = checkpoint.network.state_dict(), other.network.state_dict()
    return {name for name, tensor in mine.items() if not torch.equal(tensor, there[name])}
