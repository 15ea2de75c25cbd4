"""What goes into a model and comes out: shape, type and scale of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: the tensor's name.
        shape: its shape, batch first.
        dtype: its element type.
        scale: real value of one step; 0.0 where the tensor is not quantised.
        zero_point: the integer that stands for 0.0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @property
    def quantised(self) -> bool:
        """Whether integers of this tensor stand for real values by a scale.

        A scale beside floats means nothing: runtimes pass over it.
        """
        return self.scale != 0.0 and np.issubdtype(self.dtype, np.integer)

    def dequantise(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the real values that ``values`` of this tensor stand for, same shape."""
        real = np.asarray(values, np.float64)
        return (real - self.zero_point) * self.scale if self.quantised else real


def as_input(pixels: NDArray[np.uint8], tensor: TensorInfo) -> NDArray[Any]:
    """Return 0..255 pixels as the values that an input tensor takes; same shape.

    Our models take the bytes themselves; float models and int8 ones take real values of 0
    to 255, quantised as the tensor says.
    """
    if tensor.dtype == np.uint8:
        return pixels
    if not tensor.quantised:
        return pixels.astype(tensor.dtype)
    steps = np.rint(pixels / tensor.scale) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    return np.asarray(np.clip(steps, limits.min, limits.max), tensor.dtype)
