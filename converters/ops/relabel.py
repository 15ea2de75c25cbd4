"""RESHAPE where it changes more than a shape: what the bytes stand for, or the batch dimension."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored
from qlvit_edge.presence import present


@dataclass(frozen=True, eq=False, kw_only=True)
class Relabel(Operation):
    """The same int8 bytes in another shape, under other scales and another zero point.

    Inputs are x and the shape (rank,) int32. RESHAPE copies bytes and looks at no scale.
    """

    def check(self) -> None:
        x, target = self.inputs
        if x.dtype != "int8" or self.quantisation is None:
            raise self.refuse(f"{x.dtype} or no scale", "relabel int8 as int8")
        if target.data is None or target.data[0] != 1:
            raise self.refuse("shape not constant, or the batch is moved", "keep the batch")
        if np.prod(target.data) != np.prod(x.shape):
            raise self.refuse(f"{x.shape} to {target.data.tolist()}", "keep the elements")

    def shape_rule(self) -> tuple[int, ...]:
        target = present(self.inputs[1].data, f"the shape that {self.name} gives")
        return tuple(target.tolist())

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].reshape(len(arrays[0]), *self.output.shape[1:]))

    def stored_range(self, *ranges: Stored) -> Stored:
        return ranges[0]

    def encoding(self) -> Encoding:
        return Encoding("RESHAPE", 1, "ReshapeOptions", {"newShape": list(self.output.shape)})


@dataclass(frozen=True, eq=False, kw_only=True)
class Vector(Operation):
    """An int32 (1, …, C) as the vector (C,) that a convolution takes for its bias.

    Inputs are x and the shape (1,) int32. The one tensor without a leading dimension for the
    batch: its arrays are (B, C).
    """

    def check(self) -> None:
        x, target = self.inputs
        if x.dtype != "int32" or int(np.prod(x.shape)) != x.shape[-1] or target.data is None:
            raise self.refuse(f"{x.dtype} {x.shape}", "give one int32 value per channel")

    def shape_rule(self) -> tuple[int, ...]:
        return (self.inputs[0].shape[-1],)

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].reshape(len(arrays[0]), -1))

    def encoding(self) -> Encoding:
        return Encoding("RESHAPE", 1, "ReshapeOptions", {"newShape": list(self.output.shape)})
