"""Every plot becomes a PNG, also at its edges, and the same figures give the same bytes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qlvit_edge.evaluation import plots
from qlvit_edge.preprocess import decode

LABELS = ["A", "B", "C"]
CASES: dict[str, Callable[[Path], None]] = {
    "curves": lambda path: plots.plot_curves(
        [{"epoch": 1, "loss": 2.0, "validation_accuracy": 0.5}, {"epoch": 2, "loss": 1.0}], path
    ),
    "curves before the first epoch": lambda path: plots.plot_curves([], path),
    "confusion": lambda path: plots.plot_confusion(np.diag([5, 0, 900]), LABELS, path),
    "confusion with lost cells": lambda path: plots.plot_confusion(
        np.ones((3, 4), np.int64), LABELS, path, columns=[*LABELS, "none"]
    ),
    "layers of two networks": lambda path: plots.plot_layer_errors(
        {"x": {"a": 30.0, "b": 20.0}, "y": {"a": 10.0}}, path
    ),
    "sensitivity": lambda path: plots.plot_sensitivity(
        ["stem", "head"], [0.01, 0.02], [0.03, 0.02], 0.04, path
    ),
    "layers": lambda path: plots.plot_layer_error(["a", "b"], [30.0, float("inf")], path),
    "many layers": lambda path: plots.plot_layer_error(
        [f"layer {n}" for n in range(300)], list(range(300)), path
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plot_is_a_picture_and_deterministic(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for copy in ("first.png", "second.png"):
            CASES[name](tmp_path / copy)
    assert [str(w.message) for w in caught] == []
    picture = decode(tmp_path / "first.png")
    assert min(picture.shape[:2]) > 100
    assert max(picture.shape[:2]) < 2500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_nothing_is_left_when_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plots.plot_confusion(np.eye(3, dtype=np.int64), LABELS, tmp_path / "no" / "plot.png")
