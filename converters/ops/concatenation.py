"""CONCATENATION."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenation(Operation):
    """Operands side by side along one dimension; all share the output's quantisation.

    Attributes:
        axis: the dimension, not 0, the batch.
    """

    axis: int

    def check(self) -> None:
        first = self.inputs[0]
        if not 0 < self.axis < len(first.shape):
            raise self.refuse(f"axis {self.axis} of {first.shape}", "join other dimensions")
        for tensor in self.inputs:
            if tensor.quantisation != self.quantisation or tensor.dtype != first.dtype:
                raise self.refuse(f"{tensor.name} differs in scale or type", "give all one scale")
            if self._others(tensor.shape) != self._others(first.shape):
                raise self.refuse(f"{tensor.shape} beside {first.shape}", "make them fit")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs

    def stored_range(self, *ranges: Stored) -> Stored:
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def _others(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[: self.axis] + shape[self.axis + 1 :]

    def shape_rule(self) -> tuple[int, ...]:
        shape = list(self.inputs[0].shape)
        shape[self.axis] = sum(tensor.shape[self.axis] for tensor in self.inputs)
        return tuple(shape)

    def reference(self, *arrays: Array) -> Array:
        batch = max(map(len, arrays))  # constants have a batch of one
        whole = (np.broadcast_to(x, (batch, *x.shape[1:])) for x in arrays)
        return np.concatenate(list(whole), axis=self.axis)

    def encoding(self) -> Encoding:
        return Encoding(
            "CONCATENATION",
            1 if self.output.dtype == "float32" else 2,
            "ConcatenationOptions",
            {"axis": self.axis, "fusedActivationFunction": 0},
        )
