"""REDUCE_MAX, SUM and MEAN along constant axes; reduced dimensions stay as 1."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored, Tensor
from qlvit_edge.converters.ops.forms import TwoForms
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.requantise import quantize_multiplier, requantise
from qlvit_edge.integer.xnnpack import Form


@dataclass(frozen=True, eq=False, kw_only=True)
class _Reduction(Operation):
    """Inputs are (x, axes), axes a constant int32 vector without 0, the batch."""

    def check(self) -> None:
        if 0 in self.axes or any(axis < 0 for axis in self.axes):
            raise self.refuse(f"axes {self.axes}", "name axes from 1, the batch stays")

    @property
    def axes(self) -> tuple[int, ...]:
        """Return the dimensions that are reduced."""
        if self.inputs[1].data is None:
            raise self.refuse("axes are not constant", "give a constant")
        return tuple(int(axis) for axis in self.inputs[1].data)

    def shape_rule(self) -> tuple[int, ...]:
        shape = self.inputs[0].shape
        return tuple(1 if i in self.axes else size for i, size in enumerate(shape))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReduceMax(_Reduction):
    """The largest value; scale unchanged."""

    def check(self) -> None:
        super().check()
        if self.quantisation != self.inputs[0].quantisation:
            raise self.refuse("output scale differs from the input's", "keep the scale")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs[:1]

    def stored_range(self, *ranges: Stored) -> Stored:
        return ranges[0]

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].max(axis=self.axes, keepdims=True))

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("REDUCE_MAX", version, "ReducerOptions", {"keepDims": True})


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(_Reduction):
    """Sum of plain int32 values."""

    def check(self) -> None:
        super().check()
        if self.inputs[0].dtype == "int8":
            raise self.refuse("int8 input", "CAST to int32 first")

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].sum(axis=self.axes, keepdims=True, dtype=np.int32))

    def encoding(self) -> Encoding:
        return Encoding("SUM", 1, "ReducerOptions", {"keepDims": True})


@dataclass(frozen=True, eq=False, kw_only=True)
class Mean(_Reduction, TwoForms):
    """Average over rows and columns of a map, rounded after the change of scale.

    In float32 along any axes.
    """

    def check(self) -> None:
        super().check()
        if self.inputs[0].dtype == "float32":
            return
        if self.axes != (1, 2) or len(self.inputs[0].shape) != 4:
            raise self.refuse(f"axes {self.axes}", "only rows and columns of a map")

    def reference(self, *arrays: Array) -> Array:
        x = self.inputs[0]
        count = self.count()
        multiplier, shift = quantize_multiplier(x.scale / self.output.scale)
        # The kernel folds the division into the multiplier, as far as 31 bits have room.
        room = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier = (multiplier << room) // count
        total = arrays[0].sum(axis=(1, 2), keepdims=True, dtype=np.int64) - count * x.zero_point
        return requantise(total, multiplier, shift - room, self.output.zero_point)

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        if not self.has_forms():
            return self.reference(*arrays)
        return self.rounded(arrays[0].sum(axis=(1, 2), keepdims=True, dtype=np.int32), form)

    def count(self) -> int:
        """Return how many values an average is over."""
        return self.inputs[0].shape[1] * self.inputs[0].shape[2]

    def has_forms(self) -> bool:
        return self.output.dtype == "int8"

    def accumulators(self) -> Array:
        return np.arange(-128 * self.count(), 127 * self.count() + 1, dtype=np.int32)

    def rounded(self, accumulators: Array, form: Form) -> Array:
        x, y = self.inputs[0], self.output
        scales, zero_points = (x.scale, y.scale), (x.zero_point, y.zero_point)
        return xnnpack.scale_sums(accumulators, self.count(), scales, zero_points, form)

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("MEAN", version, "ReducerOptions", {"keepDims": True})
