"""The graph that is the same thing everywhere: tensors with scales, and a list of operations.

A :class:`Graph` is written down by :mod:`qlvit_edge.converters.idioms`, executed in NumPy by
:mod:`qlvit_edge.converters.reference` and written to a file by
:mod:`qlvit_edge.converters.tflite`. What a single operation means stands in
:mod:`qlvit_edge.converters.ops`; nothing here knows any of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ConversionError
from qlvit_edge.integer.xnnpack import Form

DType = Literal["int8", "uint8", "int16", "int32", "int64", "float32"]
Array = NDArray[Any]
Stored = tuple[int, int]
"""Smallest and largest stored value."""


@dataclass(frozen=True)
class Quantisation:
    """How stored integers stand for real values: ``real = scale * (stored - zero_point)``.

    Attributes:
        scale: one scale, or one per slice along `axis`. Rounded to float32 on
            construction, because float32 is what a file stores and a kernel reads.
        zero_point: the stored value of real 0.
        axis: the dimension the scales run along; None for a single scale.
    """

    scale: tuple[float, ...]
    zero_point: int
    axis: int | None = None

    def __post_init__(self) -> None:
        rounded = tuple(float(np.float32(scale)) for scale in self.scale)
        if not rounded or not all(scale > 0 and math.isfinite(scale) for scale in rounded):
            raise ConversionError(
                "quantisation", f"scale {self.scale}", "scales must be positive, finite float32"
            )
        if self.axis is None and len(rounded) != 1:
            raise ConversionError(
                "quantisation", f"{len(rounded)} scales without an axis", "give one, or an axis"
            )
        object.__setattr__(self, "scale", rounded)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph: an activation, or a constant when it carries data.

    Attributes:
        name: unique in its graph; equal names in the float and the integer graph mean
            the same real-valued quantity.
        shape: activations carry a leading batch dimension of 1.
        dtype: stored type.
        quantisation: None for float32 and for plain int32 values (indices, sums).
        data: the constant's values, of `shape` and `dtype`; None for an activation.
        multiple: how many times the quantity it stands for it holds. Where this is not 1, its
            name is that of the quantity, with a suffix.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantisation: Quantisation | None = None
    data: Array | None = None
    multiple: float = 1.0

    def __post_init__(self) -> None:
        if self.data is not None and (
            self.data.shape != self.shape or self.data.dtype != np.dtype(self.dtype)
        ):
            raise ConversionError(
                self.name,
                f"data {self.data.shape} {self.data.dtype}",
                f"must be {self.shape} {self.dtype}",
            )

    @property
    def quantity(self) -> str:
        """Name of the real-valued quantity that it stands for, or holds a multiple of."""
        return self.name if self.multiple == 1 else self.name.rpartition("/")[0]

    @property
    def scale(self) -> float:
        """The only scale of a per-tensor quantised tensor."""
        if self.quantisation is None or len(self.quantisation.scale) != 1:
            raise ConversionError(self.name, "has no single scale", "quantise it per tensor")
        return self.quantisation.scale[0]

    @property
    def zero_point(self) -> int:
        """The stored value of real 0."""
        if self.quantisation is None:
            raise ConversionError(self.name, "is not quantised", "give it a quantisation")
        return self.quantisation.zero_point

    def real(self, stored: Array) -> Array:
        """Stored values as float64 real values (for comparison on the host, not for a device)."""
        if self.quantisation is None:
            return stored.astype(np.float64)
        scale = np.asarray(self.quantisation.scale)
        if self.quantisation.axis is not None:
            shape = [1] * len(self.shape)
            shape[self.quantisation.axis] = len(scale)
            scale = scale.reshape(shape)
        return np.asarray(scale * (stored.astype(np.float64) - self.quantisation.zero_point))


@dataclass(frozen=True)
class Encoding:
    """One operation in TFLite's words.

    Attributes:
        builtin: name of the builtin operator, e.g. ``"CONV_2D"``.
        version: the operator version that the kernels registered for these types expect.
        options: name of the options table without its ``T``, e.g. ``"Conv2DOptions"``.
        fields: values of that table, by the schema's field names.
    """

    builtin: str
    version: int
    options: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation(ABC):
    """One step of the graph, with a single output that it names, sizes and quantises itself.

    Attributes:
        inputs: activations and constants in TFLite's order.
        name: name of the output tensor.
        quantisation: of the output tensor.
        multiple: of the output tensor.
        output: made from the shape rule when the operation is constructed.
    """

    inputs: tuple[Tensor, ...]
    name: str
    quantisation: Quantisation | None = None
    multiple: float = 1.0
    output: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.check()
        output = Tensor(
            self.name,
            self.shape_rule(),
            self.dtype_rule(),
            self.quantisation,
            multiple=self.multiple,
        )
        object.__setattr__(self, "output", output)

    def check(self) -> None:
        """Refuse inputs that the kernels would misread.

        Raises:
            ConversionError: naming the output tensor and what is wrong.
        """
        return

    @abstractmethod
    def shape_rule(self) -> tuple[int, ...]:
        """Shape of the output, from the inputs' shapes."""

    def dtype_rule(self) -> DType:
        """Type of the output: that of the first input unless an operation says otherwise."""
        return self.inputs[0].dtype

    @abstractmethod
    def reference(self, *arrays: Array) -> Array:
        """What the device computes, in NumPy integers, for a batch.

        Args:
            arrays: one per input; activations have their shape with the leading 1 replaced
                by the batch size, constants are as stored.
        """

    def xnnpack(self, *arrays: Array, form: Form = "x86") -> Array:
        """What the runtime's default kernels compute: XNNPACK's, or builtin ones it leaves it to.

        The same as `reference` unless an operation says otherwise.

        Args:
            arrays: as for `reference`.
            form: on which processors; see :mod:`qlvit_edge.integer.xnnpack`.
        """
        del form
        return self.reference(*arrays)

    @abstractmethod
    def encoding(self) -> Encoding:
        """The operation in TFLite's words."""

    def sharing(self) -> tuple[Tensor, ...]:
        """Return the inputs that must have the output's quantisation."""
        return ()

    def stored_range(self, *ranges: Stored) -> Stored:
        """Bound the output's stored values, in XNNPACK's arithmetic.

        Args:
            ranges: of the inputs' stored values.
        """
        del ranges
        limits = np.iinfo(self.output.dtype)
        return int(limits.min), int(limits.max)

    def macs(self) -> int:
        """Multiply-accumulates for one image; 0 where an operation has no inner products."""
        return 0

    def refuse(self, finding: str, remedy: str) -> ConversionError:
        """An error that names this operation's output."""
        return ConversionError(self.name, f"{type(self).__name__}: {finding}", remedy)


class Emitter(Protocol):
    """Whatever operations are written to, one after the other."""

    def emit(self, operation: Operation) -> Tensor:
        """Append an operation and return its output."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A complete network: operations in order of execution.

    Attributes:
        name: goes into the file as its description.
        inputs: tensors that the caller fills.
        outputs: tensors that the caller reads.
        operations: every operation after those that make its inputs.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        known: dict[str, Tensor] = {tensor.name: tensor for tensor in self.inputs}
        for operation in self.operations:
            for tensor in operation.inputs:
                if tensor.data is None and known.get(tensor.name) is not tensor:
                    raise operation.refuse(
                        f"reads {tensor.name} before it is made", "put operations in order"
                    )
                if known.setdefault(tensor.name, tensor) is not tensor:
                    raise operation.refuse(f"two tensors named {tensor.name}", "use unique names")
            if operation.name in known:
                raise operation.refuse("name already in use", "use unique names")
            known[operation.name] = operation.output
        for tensor in self.outputs:
            if known.get(tensor.name) is not tensor:
                raise ConversionError(tensor.name, "output that nothing makes", "add its operation")

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor once, in order of first appearance."""
        seen: set[str] = set()
        for tensor in (
            *self.inputs,
            *(t for op in self.operations for t in (*op.inputs, op.output)),
        ):
            if tensor.name not in seen:
                seen.add(tensor.name)
                yield tensor

    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(operation.macs() for operation in self.operations)
