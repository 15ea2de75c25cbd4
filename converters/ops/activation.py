"""One operand, element by element: HARD_SWISH, LOGISTIC, EXP; LOG, RSQRT and FLOOR in float32."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.requantise import quantize_multiplier, rounding_divide_by_pot
from qlvit_edge.integer.tables import (
    LEAST_MARGIN,
    elu,
    elu_margin,
    exp,
    logistic,
    look_up,
    lookup_table,
)
from qlvit_edge.integer.xnnpack import Form


@dataclass(frozen=True, eq=False, kw_only=True)
class _Unary(Operation):
    """Same shape and type; in int8 a table of 256 entries."""

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def make_table(self) -> NDArray[np.int8]:
        """Return the output for the inputs -128 … 127."""
        raise self.refuse("no integer meaning", "run the file")

    @cached_property
    def table(self) -> NDArray[np.int8]:
        """The table, made once."""
        return self.make_table()

    def stored_range(self, *ranges: Stored) -> Stored:
        if self.output.dtype != "int8":
            return super().stored_range(*ranges)
        every = np.arange(ranges[0][0], ranges[0][1] + 1, dtype=np.int64).astype(np.int8)
        values = self.xnnpack(every)
        return int(values.min()), int(values.max())

    def reference(self, *arrays: Array) -> Array:
        return look_up(self.table, arrays[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Logistic(_Unary):
    """Sigmoid; the kernels insist on scale 1/256, zero point -128."""

    def check(self) -> None:
        q = self.quantisation
        if q is not None and (q.scale != (1 / 256,) or q.zero_point != -128):
            raise self.refuse("output is not at scale 1/256, zero point -128", "use these")

    def make_table(self) -> NDArray[np.int8]:
        x = self.inputs[0]
        return lookup_table(logistic, x.scale, x.zero_point, 1 / 256, -128)

    @cached_property
    def xnnpack_table(self) -> NDArray[np.int8]:
        """XNNPACK's table, made once."""
        x = self.inputs[0]
        return xnnpack.logistic_table(x.scale, x.zero_point)

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        return look_up(self.xnnpack_table, arrays[0])

    def encoding(self) -> Encoding:
        return Encoding("LOGISTIC", 2 if self.output.dtype == "int8" else 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Exp(_Unary):
    """e^x."""

    def make_table(self) -> NDArray[np.int8]:
        x = self.inputs[0]
        return lookup_table(exp, x.scale, x.zero_point, self.output.scale, self.output.zero_point)

    def encoding(self) -> Encoding:
        return Encoding("EXP", 2 if self.output.dtype == "int8" else 1, "ExpOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class Elu(_Unary):
    """e^x - 1 for x below 0, x above; the output's zero point is 127.

    So the stored byte of e^x - 1 at scale s is that of e^x at scale s and zero point 127 - 1/s:
    it is EXP in an operator that XNNPACK takes, by a table (0.6 instructions a value on arm64,
    where the builtin EXP executes 5). Kernels round halves in two ways, and e^x in its last bit:
    refused where an entry is so near a half that these could show.
    """

    def check(self) -> None:
        if self.quantisation is None or self.quantisation.zero_point != 127:
            raise self.refuse("output has another zero point than 127", "use it")
        x = self.inputs[0]
        if elu_margin(x.scale, x.zero_point, self.quantisation.scale[0]) < LEAST_MARGIN:
            raise self.refuse("an entry of the table is nearly half a step", "use EXP")

    def make_table(self) -> NDArray[np.int8]:
        x = self.inputs[0]
        return lookup_table(elu, x.scale, x.zero_point, self.output.scale, self.output.zero_point)

    def encoding(self) -> Encoding:
        return Encoding("ELU", 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class HardSwish(_Unary):
    """``x · relu6(x + 3) / 6`` in TFLite's 16-bit fixed point."""

    def check(self) -> None:
        if self.quantisation is None:
            return
        ratio = np.float32(1 / 128 * self.inputs[0].scale) / np.float32(self.quantisation.scale[0])
        _, shift = _quantize_multiplier_16(ratio)
        if shift > 0:
            raise self.refuse("output scale is input scale / 128 or below", "widen the output")
        if shift < -15:
            # The kernels' last step would shift 16-bit values by 16 bits or more.
            raise self.refuse("output scale is above 512 input scales", "narrow the output")

    def make_table(self) -> NDArray[np.int8]:
        x = self.inputs[0]
        fine = np.float32(1 / 128) * np.float32(x.scale)
        out_multiplier, out_shift = _quantize_multiplier_16(fine / np.float32(self.output.scale))
        gate_multiplier, gate_shift = _quantize_multiplier_16(fine / np.float32(3.0 / 32768.0))
        value = (np.arange(-128, 128, dtype=np.int64) - x.zero_point) * 128
        preshift = _high_mul_16(value, out_multiplier)
        gate = value
        if gate_shift > 0:
            gate = _saturate_16(gate << (gate_shift - 1))
        gate = _high_mul_16(gate, gate_multiplier)
        if gate_shift > 0:
            gate = _saturate_16(gate << 1)
        if gate_shift < 0:
            gate = rounding_divide_by_pot(gate, -gate_shift)
        gate = (gate + (1 << 15)) >> 1
        product = gate * preshift
        truncated = np.sign(product) * (np.abs(product) >> 15)
        result = rounding_divide_by_pot(truncated, -out_shift) + self.output.zero_point
        return np.clip(result, -128, 127).astype(np.int8)

    def encoding(self) -> Encoding:
        return Encoding("HARD_SWISH", 1, "HardSwishOptions")


def _quantize_multiplier_16(real: np.float32) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(float(real))
    return min((multiplier + (1 << 15)) >> 16, 2**15 - 1), shift


def _high_mul_16(a: NDArray[np.int64], b: int) -> NDArray[np.int64]:
    """gemmlowp's saturating rounding doubling high mul of int16, b >= 0."""
    return (a * b + (1 << 14)) >> 15


def _saturate_16(a: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(a, -(2**15), 2**15 - 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Log(_Unary):
    """Natural logarithm, float32 only."""

    def encoding(self) -> Encoding:
        return Encoding("LOG", 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rsqrt(_Unary):
    """Reciprocal square root, float32 only."""

    def encoding(self) -> Encoding:
        return Encoding("RSQRT", 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Floor(_Unary):
    """Largest integer not above, float32 only."""

    def encoding(self) -> Encoding:
        return Encoding("FLOOR", 1)
