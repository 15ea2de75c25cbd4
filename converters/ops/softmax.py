"""SOFTMAX of int8 values."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.converters.graph import Array, Encoding, Operation
from qlvit_edge.integer.fixed_softmax import (
    OUTPUT_SCALE,
    OUTPUT_ZERO_POINT,
    SMALLEST_SCALE,
    fixed_softmax,
)
from qlvit_edge.integer.float_softmax import float_softmax
from qlvit_edge.integer.xnnpack import Form


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Operation):
    """Softmax over the last dimension; the kernels insist on scale 1/256, zero point -128.

    The reference kernel computes in fixed point; the optimised one in float32 on x86-64, and with
    other tables on arm64, of which nothing is claimed.
    """

    def check(self) -> None:
        q = self.quantisation
        if q is None or q.scale != (OUTPUT_SCALE,) or q.zero_point != OUTPUT_ZERO_POINT:
            raise self.refuse("output is not at scale 1/256, zero point -128", "use these")
        if self.inputs[0].scale <= SMALLEST_SCALE:
            raise self.refuse(f"input scale {self.inputs[0].scale}", "use a larger one")

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def reference(self, *arrays: Array) -> Array:
        return fixed_softmax(arrays[0], self.inputs[0].scale)

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        return float_softmax(arrays[0], self.inputs[0].scale)

    def encoding(self) -> Encoding:
        return Encoding("SOFTMAX", 2, "SoftmaxOptions", {"beta": 1.0})
