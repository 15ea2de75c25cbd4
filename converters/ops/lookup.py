"""Changes of type and tables: QUANTIZE, BITCAST, CAST, GATHER."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, DType, Encoding, Operation, Stored, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantize(Operation):
    """uint8 to int8 at the same scale: the same values, the zero point 128 lower."""

    def check(self) -> None:
        x, q = self.inputs[0], self.quantisation
        if q is None or q.scale[0] != x.scale or q.zero_point != x.zero_point - 128:
            raise self.refuse("more than a change of type", "keep scale, zero point - 128")

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def dtype_rule(self) -> DType:
        return "int8"

    def reference(self, *arrays: Array) -> Array:
        return np.asarray((arrays[0] ^ np.uint8(0x80)).view(np.int8))

    def encoding(self) -> Encoding:
        return Encoding("QUANTIZE", 2, "QuantizeOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class Bitcast(Operation):
    """uint8 read as int8: the same bytes, from 128 on 256 less."""

    def check(self) -> None:
        if self.inputs[0].dtype != "uint8" or self.quantisation is None:
            raise self.refuse(f"{self.inputs[0].dtype} or no scale", "give uint8 and a scale")

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def dtype_rule(self) -> DType:
        return "int8"

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].view(np.int8))

    def encoding(self) -> Encoding:
        return Encoding("BITCAST", 1, "BitcastOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class CastToInt32(Operation):
    """int8 stored values as plain int32."""

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    def dtype_rule(self) -> DType:
        return "int32"

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].astype(np.int32))

    def encoding(self) -> Encoding:
        return Encoding("CAST", 1, "CastOptions", {"inDataType": 9, "outDataType": 2})


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Operation):
    """Entries, or rows of entries, of a constant table at int32 indices."""

    def check(self) -> None:
        table, indices = self.inputs
        if table.data is None or len(table.shape) not in (1, 2) or indices.dtype != "int32":
            raise self.refuse("not a constant table and int32 indices", "give these")
        if table.quantisation != self.quantisation:
            raise self.refuse("table and output differ in scale", "give them one scale")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs[:1]

    def stored_range(self, *ranges: Stored) -> Stored:
        return ranges[0]

    def shape_rule(self) -> tuple[int, ...]:
        return self.inputs[1].shape + self.inputs[0].shape[1:]

    def reference(self, *arrays: Array) -> Array:
        table, indices = arrays
        if indices.min() < 0 or indices.max() >= len(table):
            raise self.refuse("index outside the table", "the table is too short")
        return np.asarray(table[indices])

    def encoding(self) -> Encoding:
        version = 1 if self.output.dtype == "int32" else 2
        return Encoding("GATHER", version, "GatherOptions", {"axis": 0, "batchDims": 0})
