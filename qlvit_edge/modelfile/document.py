"""What a `.tflite` file holds, as plain values: subgraphs, operators and tensors.

The reader makes these; inspection, the integer audit and validation look at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

# Operators that write the same values in another type or shape.
_PASSING = frozenset({"CAST", "DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE"})


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        name: as written in the file; not necessarily unique.
        shape: dimensions, outermost first (NHWC for images).
        dtype: the schema's name of the type in capitals, e.g. `INT8`.
        scales: one per tensor or one per slice along `axis`; empty when not quantised.
        zero_points: as many as `scales`.
        axis: the quantised axis when there are several scales, else None.
        is_constant: the values are part of the file.
        is_variable: the values live from one inference to the next.
        nbytes: size of the values in bytes (0 for strings and resources).
        values: those of a short constant int32 vector (axes, amounts, a shape), else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    is_constant: bool
    is_variable: bool
    nbytes: int
    values: tuple[int, ...] | None = None

    @property
    def scale(self) -> float | None:
        """The one scale of a per-tensor quantised tensor, else None."""
        return self.scales[0] if len(self.scales) == 1 else None

    @property
    def zero_point(self) -> int | None:
        """The one zero point of a per-tensor quantised tensor, else None."""
        return self.zero_points[0] if len(self.zero_points) == 1 else None


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph.

    Attributes:
        name: the schema's name, `CUSTOM`, or `UNKNOWN_<number>` for one newer than we know.
        version: the operator version the file asks for.
        inputs: tensor numbers in the subgraph; −1 is an omitted optional input.
        outputs: tensor numbers in the subgraph.
        custom_code: name of a custom operator, else empty.
        macs: multiply-accumulates of one inference, see `qlvit_edge.modelfile.macs`.
        options: those that decide what an accelerator takes, by the schema's names; see
            `qlvit_edge.modelfile.schema.OPERATOR_OPTIONS`.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom_code: str
    macs: int
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Subgraph:
    """One graph: tensors, operators in execution order, inputs and outputs by number."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Document:
    """A whole model file.

    Attributes:
        size: bytes of the file.
        version: schema version (3).
        description: free text of the tool that wrote the file.
        subgraphs: the first one is what an interpreter runs; there is at least one.
        metadata: name → content (views into the file, not copies).
        warnings: what is odd in the file, though runtimes load it.
        misfits: what some runtimes load and others refuse; such a file is listed, not run.
    """

    size: int
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    metadata: Mapping[str, memoryview]
    warnings: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the metadata mapping too."""
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """The operators of all subgraphs, in file order."""
        return tuple(operator for graph in self.subgraphs for operator in graph.operators)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of all subgraphs, in file order."""
        return tuple(tensor for graph in self.subgraphs for tensor in graph.tensors)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The input tensors of the first subgraph."""
        main = self.subgraphs[0]
        return tuple(main.tensors[index] for index in main.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The output tensors of the first subgraph."""
        main = self.subgraphs[0]
        return tuple(main.tensors[index] for index in main.outputs)

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the first output is what a SOFTMAX made, perhaps in another type or shape."""
        main = self.subgraphs[0]
        producers = {tensor: op for op in main.operators for tensor in op.outputs}
        seen: set[int] = set()
        tensor = main.outputs[0] if main.outputs else -1
        while (operator := producers.get(tensor)) is not None and tensor not in seen:
            if operator.name not in _PASSING or not operator.inputs:
                return operator.name == "SOFTMAX"
            seen.add(tensor)
            tensor = operator.inputs[0]
        return False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the first subgraph."""
        return sum(operator.macs for operator in self.subgraphs[0].operators)

    @property
    def metadata_names(self) -> tuple[str, ...]:
        """Names of the metadata entries, in file order."""
        return tuple(self.metadata)
