"""QUANTIZE between int8 and int16, and what int16 tensors must be."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, DType, Encoding, Operation, Stored
from qlvit_edge.integer.requantise import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantise,
    saturate_16,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Requantize(Operation):
    """int8 to int16 or int16 to int8, with a change of scale."""

    def check(self) -> None:
        x = self.inputs[0]
        if x.dtype not in ("int8", "int16") or self.quantisation is None:
            raise self.refuse(f"{x.dtype} or no scale", "give int8 or int16 and a scale")
        wide = x.quantisation if x.dtype == "int16" else self.quantisation
        if wide is None or wide.zero_point != 0:
            raise self.refuse("int16 with a zero point", "make it symmetric")

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def dtype_rule(self) -> DType:
        return "int16" if self.inputs[0].dtype == "int8" else "int8"

    def reference(self, *arrays: Array) -> Array:
        x = self.inputs[0]
        factor = quantize_multiplier(x.scale / self.output.scale)
        centred = arrays[0].astype(np.int64) - x.zero_point
        if self.output.dtype == "int8":
            return requantise(centred, *factor, self.output.zero_point)
        return saturate_16(multiply_by_quantized_multiplier(centred, *factor))

    def stored_range(self, *ranges: Stored) -> Stored:
        low, high = self.reference(np.array(ranges[0], self.inputs[0].dtype)).tolist()
        return low, high

    def encoding(self) -> Encoding:
        return Encoding("QUANTIZE", 2, "QuantizeOptions")


def require_symmetric(operation: Operation) -> None:
    """Refuse an int16 operation of which an int16 tensor has a zero point.

    Raises:
        ConversionError: naming it.
    """
    wide = [t.quantisation for t in operation.inputs if t.dtype == "int16"]
    for quantisation in (*wide, operation.quantisation):
        if quantisation is None or quantisation.zero_point != 0:
            raise operation.refuse("an int16 tensor has a zero point", "make it symmetric")
