"""Two operands, element by element, dimensions of size 1 broadcast."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation
from qlvit_edge.integer.requantise import (
    add_parameters,
    add_quantised,
    multiply_quantised,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Binary(Operation):
    """Shape rule and checks of all binary operations."""

    def check(self) -> None:
        a, b = self.inputs
        if a.dtype != b.dtype:
            raise self.refuse(f"operands are {a.dtype} and {b.dtype}", "give both one type")
        if a.dtype == "int8" and None in (a.quantisation, b.quantisation, self.quantisation):
            raise self.refuse("an int8 tensor has no scale", "quantise operands and output")

    def shape_rule(self) -> tuple[int, ...]:
        return tuple(np.broadcast_shapes(self.inputs[0].shape, self.inputs[1].shape))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sum(_Binary):
    """ADD and SUB: int8 with scales, or plain int32 (which wraps)."""

    sign = 1

    def reference(self, *arrays: Array) -> Array:
        a, b = arrays
        if self.output.dtype == "int32":
            return np.asarray(a + self.sign * b)
        tensors = (*self.inputs, self.output)
        parameters = add_parameters(
            (tensors[0].scale, tensors[1].scale, tensors[2].scale),
            (tensors[0].zero_point, tensors[1].zero_point, tensors[2].zero_point),
        )
        return add_quantised(a, b, parameters, self.sign)


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(_Sum):
    """Sum."""

    def check(self) -> None:
        super().check()
        q = self.quantisation
        if q is not None and max(tensor.scale for tensor in self.inputs) >= 256 * q.scale[0]:
            # XNNPACK 2.3 takes it and overflows: what should saturate gets the wrong sign.
            raise self.refuse("an operand's scale is 256 times the output's", "widen the output")

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("ADD", version, "AddOptions", {"fusedActivationFunction": 0})


@dataclass(frozen=True, eq=False, kw_only=True)
class Sub(_Sum):
    """Difference, first minus second."""

    sign = -1

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("SUB", version, "SubOptions", {"fusedActivationFunction": 0})


@dataclass(frozen=True, eq=False, kw_only=True)
class Mul(_Binary):
    """Product: int8 with scales, or plain int32 (which wraps)."""

    def reference(self, *arrays: Array) -> Array:
        if self.output.dtype == "int32":
            return np.asarray(arrays[0] * arrays[1])
        (a, b), output = self.inputs, self.output
        return multiply_quantised(
            arrays[0],
            arrays[1],
            (a.scale, b.scale, output.scale),
            (a.zero_point, b.zero_point, output.zero_point),
        )

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("MUL", version, "MulOptions", {"fusedActivationFunction": 0})


@dataclass(frozen=True, eq=False, kw_only=True)
class _Extremum(_Binary):
    """MAXIMUM and MINIMUM: all three tensors share scale and zero point."""

    def check(self) -> None:
        super().check()
        if len({t.quantisation for t in self.inputs} | {self.quantisation}) != 1:
            raise self.refuse("operands and output differ in scale", "give them one scale")


@dataclass(frozen=True, eq=False, kw_only=True)
class Maximum(_Extremum):
    """The larger of both."""

    def reference(self, *arrays: Array) -> Array:
        return np.maximum(*arrays)

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("MAXIMUM", version, "MaximumMinimumOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class Minimum(_Extremum):
    """The smaller of both."""

    def reference(self, *arrays: Array) -> Array:
        return np.minimum(*arrays)

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("MINIMUM", version, "MaximumMinimumOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class Div(_Binary):
    """Quotient, float32 only."""

    def check(self) -> None:
        super().check()
        _float_only(self)

    def reference(self, *arrays: Array) -> Array:
        raise self.refuse("no integer meaning", "run the file")

    def encoding(self) -> Encoding:
        return Encoding("DIV", 1, "DivOptions", {"fusedActivationFunction": 0})


@dataclass(frozen=True, eq=False, kw_only=True)
class RightShift(_Binary):
    """Arithmetic right shift of int32 by int32."""

    def check(self) -> None:
        super().check()
        if self.inputs[0].dtype != "int32":
            raise self.refuse("operands are not int32", "shift plain integers")

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0] >> arrays[1])

    def encoding(self) -> Encoding:
        return Encoding("RIGHT_SHIFT", 1, "RightShiftOptions")


def _float_only(operation: Operation) -> None:
    if operation.inputs[0].dtype != "float32":
        raise operation.refuse("integers given", "this operation exists in the float graph only")
