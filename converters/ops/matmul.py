"""BATCH_MATMUL of int8 or int16 matrices."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored
from qlvit_edge.converters.ops.carrier import carrier
from qlvit_edge.converters.ops.requantise import require_symmetric
from qlvit_edge.converters.ops.sums import beyond_32_bits
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.requantise import (
    multiply_64_by_quantized_multiplier,
    quantize_multiplier,
    requantise,
    saturate_16,
)
from qlvit_edge.integer.xnnpack import Form


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchMatMul(Operation):
    """Product of (…, M, N) and (…, N, P); equal leading dimensions.

    Attributes:
        adjoint_a: the first operand is (…, N, M).
        adjoint_b: the second operand is (…, P, N).
    """

    adjoint_a: bool = False
    adjoint_b: bool = False

    def check(self) -> None:
        a, b = self.inputs
        if a.dtype != b.dtype or a.shape[:-2] != b.shape[:-2]:
            raise self.refuse(f"{a.shape} {a.dtype} by {b.shape} {b.dtype}", "make them fit")
        if b.quantisation is not None and b.zero_point != 0:
            raise self.refuse(
                f"right operand {b.name} has zero point {b.zero_point}",
                "XNNPACK multiplies fast and rightly only by a right operand of zero point 0",
            )
        if a.dtype == "int16":
            require_symmetric(self)
        if self._inner(0) != self._inner(1):
            raise self.refuse(f"{a.shape} by {b.shape}", "inner dimensions must agree")
        if a.dtype == "int8" and self.quantisation is not None:
            largest = np.array([255 * 128 * self._inner(0)], np.int64)
            if finding := beyond_32_bits(-largest, largest, [self._factor()]):
                raise self.refuse(*finding)

    def _factor(self) -> float:
        """By what a sum is brought to the output's scale."""
        a, b = self.inputs
        if self.quantisation is None:
            raise self.refuse("output not quantised", "give it a scale")
        # The kernel multiplies the scales in float32 and divides in double.
        return float(np.float32(a.scale) * np.float32(b.scale)) / self.quantisation.scale[0]

    def _inner(self, index: int) -> int:
        transposed = self.adjoint_b if index else self.adjoint_a
        return self.inputs[index].shape[-2 if (index == 1) != transposed else -1]

    def shape_rule(self) -> tuple[int, ...]:
        a, b = self.inputs
        rows = a.shape[-1 if self.adjoint_a else -2]
        columns = b.shape[-2 if self.adjoint_b else -1]
        return (*a.shape[:-2], rows, columns)

    def accumulate(self, *arrays: Array) -> Array:
        """Return the inner products of the output's shape: exact integers in a float type."""
        wide = self.output.dtype == "int16"
        exact = carrier(self._inner(0) * (2**30 if wide else 255 * 128))
        left = arrays[0].astype(exact) - self.inputs[0].zero_point
        right = arrays[1].astype(exact)
        if self.adjoint_a:
            left = left.swapaxes(-1, -2)
        if self.adjoint_b:
            right = right.swapaxes(-1, -2)
        return np.asarray(np.matmul(left, right))

    def reference(self, *arrays: Array) -> Array:
        return self._by_reference(self.accumulate(*arrays).astype(np.int64))

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        del form
        if self.output.dtype != "int8":
            return self.reference(*arrays)
        return self._by_xnnpack(self.accumulate(*arrays))

    def _by_reference(self, products: Array) -> Array:
        multiplier = quantize_multiplier(self._factor())
        if self.output.dtype == "int16":
            return saturate_16(multiply_64_by_quantized_multiplier(products, *multiplier))
        return requantise(products, *multiplier, self.output.zero_point)

    def _by_xnnpack(self, products: Array) -> Array:
        a, b = self.inputs
        factor = xnnpack.product_factor(a.scale, b.scale, self.output.scale)
        return xnnpack.requantise(products.astype(np.int32), factor, self.output.zero_point)

    def stored_range(self, *ranges: Stored) -> Stored:
        if self.output.dtype != "int8":
            return super().stored_range(*ranges)
        zero = self.inputs[0].zero_point
        terms = [(left - zero) * right for left, right in product(*ranges)]
        sums = np.array([min(terms), max(terms)], np.int64) * self._inner(0)
        values = self._by_xnnpack(sums)
        return int(values.min()), int(values.max())

    def macs(self) -> int:
        return int(np.prod(self.output.shape)) * self._inner(0)

    def encoding(self) -> Encoding:
        return Encoding(
            "BATCH_MATMUL",
            {"int8": 2, "int16": 3}.get(self.output.dtype, 1),
            "BatchMatMulOptions",
            {"adjX": self.adjoint_a, "adjY": self.adjoint_b, "asymmetricQuantizeInputs": False},
        )
