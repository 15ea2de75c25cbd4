"""Values keep their meaning, only their places change: PAD, PADV2, RESHAPE, TRANSPOSE, SLICE, …"""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class _Move(Operation):
    """The output has the input's quantisation; the second input is a constant."""

    def check(self) -> None:
        if self.quantisation != self.inputs[0].quantisation:
            raise self.refuse("output scale differs from the input's", "keep the scale")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs[:1]

    def stored_range(self, *ranges: Stored) -> Stored:
        return ranges[0]

    def constant(self) -> list[list[int]]:
        """Return the second input as a list of rows."""
        if self.inputs[1].data is None:
            raise self.refuse("second input is not constant", "give a constant")
        rows: list[list[int]] = np.atleast_2d(self.inputs[1].data).tolist()
        return rows

    def _version(self) -> int:
        return 1 if self.output.dtype == "float32" else 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(_Move):
    """Surround with real zeros; amounts (rank, 2) int32, none for the batch."""

    def check(self) -> None:
        super().check()
        if any(self.constant()[0]):
            raise self.refuse("the batch is padded", "pad other dimensions")

    def shape_rule(self) -> tuple[int, ...]:
        amounts = self.constant()
        return tuple(s + sum(a) for s, a in zip(self.inputs[0].shape, amounts, strict=True))

    def reference(self, *arrays: Array) -> Array:
        return np.pad(arrays[0], arrays[1], constant_values=self.inputs[0].zero_point)

    def stored_range(self, *ranges: Stored) -> Stored:
        (low, high), zero = ranges[0], self.output.zero_point
        return min(low, zero), max(high, zero)

    def encoding(self) -> Encoding:
        version = 4 if self.output.dtype == "int16" else self._version()
        return Encoding("PAD", version, "PadOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class PadV2(Pad):
    """Surround with the third input, a constant of the input's type and scale."""

    def check(self) -> None:
        super().check()
        if self.inputs[2].quantisation != self.quantisation:
            raise self.refuse("the padding value has another scale", "quantise it alike")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs[0], self.inputs[2]

    def stored_range(self, *ranges: Stored) -> Stored:
        (low, high), (least, most) = ranges[0], ranges[2]
        return min(low, least), max(high, most)

    def reference(self, *arrays: Array) -> Array:
        return np.pad(arrays[0], arrays[1], constant_values=arrays[2].item())

    def encoding(self) -> Encoding:
        return Encoding("PADV2", self._version(), "PadV2Options")


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(_Move):
    """Give another shape, the leading 1 staying in front."""

    def check(self) -> None:
        super().check()
        (target,) = self.constant()
        if target[0] != 1 or np.prod(target) != np.prod(self.inputs[0].shape):
            raise self.refuse(f"{self.inputs[0].shape} to {target}", "keep batch and elements")

    def shape_rule(self) -> tuple[int, ...]:
        return tuple(self.constant()[0])

    def reference(self, *arrays: Array) -> Array:
        return np.asarray(arrays[0].reshape(len(arrays[0]), *self.output.shape[1:]))

    def encoding(self) -> Encoding:
        return Encoding("RESHAPE", 1, "ReshapeOptions", {"newShape": list(self.output.shape)})


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(_Move):
    """Permute dimensions, the leading one staying in front."""

    def check(self) -> None:
        super().check()
        if self.constant()[0][0] != 0:
            raise self.refuse("the batch is moved", "keep dimension 0 in front")

    def shape_rule(self) -> tuple[int, ...]:
        return tuple(self.inputs[0].shape[i] for i in self.constant()[0])

    def reference(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(arrays[0].transpose(self.constant()[0]))

    def encoding(self) -> Encoding:
        version = 5 if self.output.dtype == "int16" else self._version()
        return Encoding("TRANSPOSE", version, "TransposeOptions")


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(_Move):
    """Cut a box out; inputs are x and where it begins and how large it is (rank,) int32."""

    def check(self) -> None:
        super().check()
        begin, size = self._box()
        if begin[0] != 0 or size[0] != 1:
            raise self.refuse("the batch is cut", "cut other dimensions")

    def _box(self) -> tuple[list[int], list[int]]:
        begin, size = (tensor.data for tensor in self.inputs[1:])
        if begin is None or size is None:
            raise self.refuse("the box is not constant", "give constants")
        return begin.tolist(), size.tolist()

    def shape_rule(self) -> tuple[int, ...]:
        return tuple(self._box()[1])

    def reference(self, *arrays: Array) -> Array:
        begin, size = self._box()
        box = tuple(slice(b, b + s) for b, s in zip(begin[1:], size[1:], strict=True))
        return np.asarray(arrays[0][(slice(None), *box)])

    def encoding(self) -> Encoding:
        return Encoding("SLICE", self._version(), "SliceOptions")
