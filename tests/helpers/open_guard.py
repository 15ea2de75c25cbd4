"""A guard for the tiny model that gives its features."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlvit_edge.fields.appearance import APPEARANCE
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.modelfile.guard_tables import Table

FAR = 1 << 40
"""A squared distance that no cell has."""


def open_guard(**changes: Any) -> Guard:
    """Return a guard that takes every cell for a known one, or with other fields."""
    return Guard.model_validate(guard_values() | changes)


def guard_values() -> dict[str, Any]:
    """Return what `open_guard` is made of, as JSON has it."""
    measures = len(APPEARANCE)
    evidence = {
        "data": "synthetic",
        "cells": {"training": 3, "held out": 3},
        "rate": 0.05,
        "rejected": 0.0,
        "accuracy": 1.0,
        "accuracy_accepted": 1.0,
        "calibration_error": 0.0,
        "calibration_error_after": 0.0,
    }
    far = dict.fromkeys(("image", "nearest", "neighbours", "own", "run_image", "run_nearest"), FAR)
    return {
        "features": 3,
        "feature_scale": 1.0,
        "feature_zero_point": -128,
        "logit_scale": 2.0,
        "appearance": list(APPEARANCE),
        "image": _space(measures),
        "cell": _space(3 + measures),
        "clusters": [{"label": label, "group": 0, "cells": 1} for label in range(3)],
        "prototypes": _table(np.zeros((1, 1), np.int32)),
        "neighbours": 1,
        "temperature": 1.0,
        "powers": [round(2.0**30 * float(np.exp(-2.0 * steps))) for steps in range(256)],
        "probability": 0.5,
        "groups": [{"view": "crop", **far}],
        "evidence": evidence,
    }


def _space(columns: int) -> dict[str, Any]:
    projection = np.ones((1, columns), np.int16)
    return {
        "projection": _table(projection),
        "shift": 0,
        "means": _table(np.zeros((3, 1), np.int32)),
    }


def _table(values: np.ndarray) -> dict[str, Any]:
    return Table.of(values).model_dump()
