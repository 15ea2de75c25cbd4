"""Constants that idioms need beside weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qlvit_edge.converters.graph import Quantisation, Tensor


def real(name: str, values: ArrayLike) -> Tensor:
    """Return a float32 constant."""
    data = np.asarray(values, np.float32)
    return Tensor(name, data.shape, "float32", data=data)


def stored(name: str, values: ArrayLike, quantisation: Quantisation | None) -> Tensor:
    """Return an int8 constant by its stored values."""
    data = np.asarray(values, np.int8)
    return Tensor(name, data.shape, "int8", quantisation, data)


def integers(name: str, values: ArrayLike) -> Tensor:
    """Return an int32 constant: axes, shapes, amounts, indices."""
    data = np.array(values, np.int32)
    return Tensor(name, data.shape, "int32", data=data)


def integer_like(name: str, value: int, x: Tensor) -> Tensor:
    """Return an int32 scalar of as many dimensions as `x`."""
    return integers(name, np.full((1,) * len(x.shape), value))


def integer_full(name: str, value: int, x: Tensor) -> Tensor:
    """Return an int32 constant of the shape of `x`, one value everywhere.

    Builtin kernels take operands of equal shapes ten times as fast as they broadcast a scalar.
    """
    return integers(name, np.full(x.shape, value))
