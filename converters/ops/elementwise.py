"""Two operands, element by element, dimensions of size 1 broadcast."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored, Tensor
from qlvit_edge.converters.ops.convolution import ACTIVATION_CODE, Activation
from qlvit_edge.converters.ops.forms import TwoForms
from qlvit_edge.converters.ops.requantise import require_symmetric
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.requantise import (
    add_parameters,
    add_quantised,
    add_quantised_16,
    add_quantised_16_by_vectors,
    multiply_quantised,
    multiply_quantised_16,
)
from qlvit_edge.integer.xnnpack import Form


@dataclass(frozen=True, eq=False, kw_only=True)
class _Binary(Operation):
    """Shape rule and checks of all binary operations."""

    def check(self) -> None:
        a, b = self.inputs
        if a.dtype != b.dtype:
            raise self.refuse(f"operands are {a.dtype} and {b.dtype}", "give both one type")
        scales = (a.quantisation, b.quantisation, self.quantisation)
        if a.dtype in ("int8", "int16") and None in scales:
            raise self.refuse(f"an {a.dtype} tensor has no scale", "quantise operands and output")
        if a.dtype == "int16":
            require_symmetric(self)

    def shape_rule(self) -> tuple[int, ...]:
        return tuple(np.broadcast_shapes(self.inputs[0].shape, self.inputs[1].shape))

    def scales(self) -> xnnpack.Scales:
        """Return those of both operands and the output."""
        return self.inputs[0].scale, self.inputs[1].scale, self.output.scale

    def zero_points(self) -> xnnpack.ZeroPoints:
        """Return those of both operands and the output."""
        return self.inputs[0].zero_point, self.inputs[1].zero_point, self.output.zero_point

    def stored_range(self, *ranges: Stored) -> Stored:
        if self.output.quantisation is None:
            return super().stored_range(*ranges)
        # Monotonic in either operand: extremes are at the ends of both.
        dtype = self.output.dtype
        left, right = (np.array(ends, dtype) for ends in zip(*product(*ranges), strict=True))
        values = self.xnnpack(left, right)
        return int(values.min()), int(values.max())


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sum(_Binary):
    """ADD and SUB: int8 with scales, or plain int32 (which wraps); ADD also int16 with scales.

    Attributes:
        activation: fused; RELU clips at the output's zero point. Where that is -128 it clips
            nothing, but XNNPACK reads two functions of one tensor and makes one table of them.
    """

    activation: Activation = "NONE"
    sign: ClassVar[int] = 1

    def reference(self, *arrays: Array) -> Array:
        return self._activated(self._reference_sum(*arrays))

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        return self._activated(self._xnnpack_sum(*arrays))

    def _reference_sum(self, *arrays: Array) -> Array:
        a, b = arrays
        if self.output.dtype == "int32":
            return np.asarray(a + self.sign * b)
        if self.output.dtype == "int16":
            return add_quantised_16(a, b, self.scales())
        return add_quantised(a, b, add_parameters(self.scales(), self.zero_points()), self.sign)

    def _xnnpack_sum(self, *arrays: Array) -> Array:
        if self.output.dtype != "int8" or not xnnpack.takes_sum(self.scales()):
            return self._reference_sum(*arrays)
        a, b = arrays
        return xnnpack.add_quantised(a, b, self.scales(), self.zero_points(), self.sign)

    def _activated(self, total: Array) -> Array:
        if self.activation == "NONE":
            return total
        return np.asarray(np.maximum(total, total.dtype.type(self.output.zero_point)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(_Sum):
    """Sum."""

    def check(self) -> None:
        super().check()
        q, largest = self.quantisation, 0.0
        if q is not None:
            largest = max(tensor.scale for tensor in self.inputs)
        if self.inputs[0].dtype == "int16":
            if self.activation != "NONE":
                raise self.refuse("int16 with a fused activation", "clip int8")
            if q is not None and 2 * largest >= 2**15 * q.scale[0]:
                raise self.refuse("an operand's scale dwarfs the output's", "widen the output")
        elif q is not None and max(tensor.scale for tensor in self.inputs) >= 256 * q.scale[0]:
            # XNNPACK 2.3 takes it and overflows: what should saturate gets the wrong sign.
            raise self.refuse("an operand's scale is 256 times the output's", "widen the output")

    def _xnnpack_sum(self, *arrays: Array) -> Array:
        if self.output.dtype == "int16":
            return add_quantised_16_by_vectors(arrays[0], arrays[1], self.scales())
        return super()._xnnpack_sum(*arrays)

    def encoding(self) -> Encoding:
        fields: dict[str, object] = {"fusedActivationFunction": ACTIVATION_CODE[self.activation]}
        if self.output.dtype == "int16":
            return Encoding("ADD", 3, "AddOptions", {**fields, "potScaleInt16": False})
        version = 2 if self.output.dtype == "int8" else 1
        return Encoding("ADD", version, "AddOptions", fields)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sub(_Sum):
    """Difference, first minus second."""

    sign: ClassVar[int] = -1

    def check(self) -> None:
        super().check()
        if self.inputs[0].dtype == "int16":
            raise self.refuse("int16 operands", "subtract in int8")

    def encoding(self) -> Encoding:
        version = 2 if self.output.dtype == "int8" else 1
        fields = {"fusedActivationFunction": ACTIVATION_CODE[self.activation]}
        return Encoding("SUB", version, "SubOptions", fields)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mul(_Binary, TwoForms):
    """Product: int8 or int16 with scales, or plain int32 (which wraps)."""

    def check(self) -> None:
        super().check()
        (a, b), q = self.inputs, self.quantisation
        if a.dtype == "int16" and q is not None and 2 * a.scale * b.scale >= q.scale[0]:
            raise self.refuse("int16 products leave int32 before they saturate", "widen the output")
        if a.dtype == "int8" and q is not None:
            factor = xnnpack.product_factor(a.scale, b.scale, q.scale[0])
            if factor >= 256:
                # XNNPACK leaves it, and the optimised builtin kernel saturates at the wrong end.
                raise self.refuse(f"products are {factor:g} steps of the output", "widen it")

    def reference(self, *arrays: Array) -> Array:
        if self.output.dtype == "int32":
            return np.asarray(arrays[0] * arrays[1])
        a, b = arrays
        if self.output.dtype == "int16":
            return multiply_quantised_16(a, b, self.scales())
        return multiply_quantised(a, b, self.scales(), self.zero_points())

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        if not self.has_forms():
            return self.reference(*arrays)
        left, right = (
            x.astype(np.int32) - np.int32(tensor.zero_point)
            for x, tensor in zip(arrays, self.inputs, strict=True)
        )
        return self.rounded(left * right, form)

    def has_forms(self) -> bool:
        return self.output.dtype == "int8" and xnnpack.takes_product(self.scales())

    def accumulators(self) -> Array:
        every = np.arange(-128, 128, dtype=np.int32)
        left, right = (
            (every if tensor.data is None else np.unique(tensor.data).astype(np.int32))
            - np.int32(tensor.zero_point)
            for tensor in self.inputs
        )
        return np.unique(np.multiply.outer(left, right))

    def rounded(self, accumulators: Array, form: Form) -> Array:
        return xnnpack.scale_products(accumulators, self.scales(), self.output.zero_point, form)

    def encoding(self) -> Encoding:
        version = {"int8": 2, "int16": 4}.get(self.output.dtype, 1)
        return Encoding("MUL", version, "MulOptions", {"fusedActivationFunction": 0})


@dataclass(frozen=True, eq=False, kw_only=True)
class _Extremum(_Binary):
    """MAXIMUM and MINIMUM: all three tensors share scale and zero point."""

    def check(self) -> None:
        super().check()
        if len({t.quantisation for t in self.inputs} | {self.quantisation}) != 1:
            raise self.refuse("operands and output differ in scale", "give them one scale")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs


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
