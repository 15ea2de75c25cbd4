"""A model as the reference kernels can run it: they have EXP, but no ELU.

XNNPACK takes ELU and leaves EXP, so the softmax of a converted model makes e^x of ELU, whose zero
point is 127. EXP at another scale and zero point stores the same bytes, for the scales that
:mod:`qlvit_edge.integer.log2_softmax` allows; a RESHAPE then gives them ELU's scale and zero point.

The file gets a new beginning with the changed operators (:mod:`qlvit_edge.modelfile.front`); no
schema of a runtime is needed, so that a device with `tflite-runtime` alone can do it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from qlvit_edge.errors import ModelFileError
from qlvit_edge.integer.log2_softmax import (
    ELU_ZERO_POINT,
    EXP_SCALE,
    EXP_ZERO_POINT,
    POWER_ELU_SCALE,
    power_scale,
)
from qlvit_edge.modelfile import schema
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.flatbuffer import MalformedError, Table, Walker
from qlvit_edge.modelfile.front import Field, New, Numbers, Old, Scalar, Tables, Text, with_front
from qlvit_edge.modelfile.reader import MAX_ITEMS, MAX_SUBGRAPHS
from qlvit_edge.modelfile.schema import Slot

_EXP_VERSION = 2
_WIDEST_OLD_CODE = 127
"""What the operator code's field of 8 bits holds for codes that do not fit into it."""


def _float32(value: float) -> float:
    """Round to what a file holds."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


_EXP = {
    _float32(EXP_SCALE): (EXP_SCALE, EXP_ZERO_POINT),
    _float32(POWER_ELU_SCALE): (power_scale(0), 0),
}
"""Scale of an ELU → scale and zero point of the EXP that stores the same."""


def needs_reference_form(document: Document) -> bool:
    """Tell whether a model has an ELU."""
    return any(operator.name == "ELU" for operator in document.operators)


def reference_form(model: bytes, subject: object = "model") -> bytes:
    """Return a model file with EXP and RESHAPE for every ELU that stores the same bytes.

    A model with another ELU is returned as it is, and the reference kernels refuse it.

    Args:
        model: the file, which our reader has checked.
        subject: what errors call it.

    Raises:
        ModelFileError: it has tables that are newer than the schema known here, or keeps its
            weights behind the flatbuffer.
    """
    try:
        return _rewritten(model)
    except MalformedError as error:
        finding = f"the reference kernels need another form of it, but {error}"
        raise ModelFileError(subject, finding, "use other kernels") from None


def _rewritten(model: bytes) -> bytes:
    walker = Walker(memoryview(model))
    root = walker.table(walker.follow(0, "the model"), "the model")
    for buffer in root.children(Slot.MODEL_BUFFERS, "buffers", MAX_ITEMS):
        if buffer.number(Slot.BUFFER_OFFSET, "Q") > 1:
            raise MalformedError("its weights are behind the flatbuffer")
    codes = root.children(Slot.MODEL_OPERATOR_CODES, "operator codes", MAX_ITEMS)
    names = [_name(code) for code in codes]
    graphs = [
        _Graph.of(table, names)
        for table in root.children(Slot.MODEL_SUBGRAPHS, "subgraphs", MAX_SUBGRAPHS)
    ]
    if any(held is None for graph in graphs for held in graph.exps.values()):
        return model
    written: list[Old | New] = [
        _code("EXP", _EXP_VERSION) if name == "ELU" else Old(code.position)
        for name, code in zip(names, codes, strict=True)
    ]
    reshape = names.index("RESHAPE") if "RESHAPE" in names else len(written)
    if reshape == len(written):
        written.append(_code("RESHAPE", 1))
    fields = _offsets(root, Slot.MODEL_FIELDS, Slot.MODEL_VERSION, "I")
    fields[Slot.MODEL_OPERATOR_CODES] = Tables(written)
    fields[Slot.MODEL_SUBGRAPHS] = Tables([graph.rewritten(reshape) for graph in graphs])
    return with_front(model, New(fields))


def _name(code: Table) -> str:
    number = max(
        code.number(Slot.OPCODE_BUILTIN, "i"), code.number(Slot.OPCODE_DEPRECATED_BUILTIN, "b")
    )
    known = schema.BUILTIN_OPERATORS
    return known[number] if number < len(known) else ""


def _code(name: str, version: int) -> New:
    number = schema.BUILTIN_OPERATORS.index(name)
    return New(
        {
            Slot.OPCODE_DEPRECATED_BUILTIN: Scalar("b", min(number, _WIDEST_OLD_CODE)),
            Slot.OPCODE_VERSION: Scalar("i", version),
            Slot.OPCODE_BUILTIN: Scalar("i", number),
        }
    )


def _offsets(table: Table, known: int, number: int, code: str) -> dict[int, Field]:
    """Return all fields of a table that has one number and otherwise offsets."""
    if any(table.has(slot) for slot in range(known, table.slots)):
        raise MalformedError(f"{table.what} has fields of a newer schema")
    fields: dict[int, Field] = {}
    for slot in range(min(known, table.slots)):
        if slot == number and table.has(slot):
            fields[slot] = Scalar(code, table.number(slot, code))
        elif (target := table.target(slot)) is not None:
            fields[slot] = Old(target)
    return fields


@dataclass(frozen=True)
class _Graph:
    """A subgraph whose ELUs are to be changed.

    Attributes:
        table: of the file.
        tensors: of the graph.
        operators: of the graph.
        exps: number of an ELU → scale and zero point of the EXP that stores the same; None if
            there is none.
    """

    table: Table
    tensors: list[Table]
    operators: list[Table]
    exps: dict[int, tuple[float, int] | None]

    @classmethod
    def of(cls, table: Table, names: list[str]) -> _Graph:
        """Find the ELUs of a subgraph; `names` are those of the operator codes."""
        tensors = table.children(Slot.SUBGRAPH_TENSORS, "tensors", MAX_ITEMS)
        operators = table.children(Slot.SUBGRAPH_OPERATORS, "operators", MAX_ITEMS)
        exps = {
            number: _same_exp(tensors[_output(operator)])
            for number, operator in enumerate(operators)
            if names[operator.number(Slot.OPERATOR_OPCODE, "I")] == "ELU"
        }
        return cls(table, tensors, operators, exps)

    def rewritten(self, reshape: int) -> Old | New:
        """Return the subgraph with EXP and RESHAPE; `reshape` is the number of its code."""
        if not self.exps:
            return Old(self.table.position)
        tensors: list[Old | New] = [Old(tensor.position) for tensor in self.tensors]
        operators: list[Old | New] = []
        for number, operator in enumerate(self.operators):
            held = self.exps.get(number)
            if held is None:
                operators.append(Old(operator.position))
                continue
            output = self.tensors[_output(operator)]
            operators += _exp_and_reshape(operator, output, len(tensors), reshape)
            tensors.append(_held(output, *held))
        fields = _offsets(self.table, Slot.SUBGRAPH_FIELDS, Slot.SUBGRAPH_DEBUG, "i")
        fields[Slot.SUBGRAPH_TENSORS] = Tables(tensors)
        fields[Slot.SUBGRAPH_OPERATORS] = Tables(operators)
        return New(fields)


def _output(operator: Table) -> int:
    outputs = operator.integers(Slot.OPERATOR_OUTPUTS, "i", "outputs of ELU")
    if len(outputs) != 1 or outputs[0] < 0:
        raise MalformedError("an ELU has not one output")
    return outputs[0]


def _exp_and_reshape(operator: Table, output: Table, held: int, reshape: int) -> list[Old | New]:
    """Return the EXP that makes tensor `held`, and the RESHAPE that makes the output of it."""
    inputs = operator.target(Slot.OPERATOR_INPUTS)
    outputs = operator.target(Slot.OPERATOR_OUTPUTS)
    if inputs is None or outputs is None:
        raise MalformedError("an ELU has no input")
    shape = output.integers(Slot.TENSOR_SHAPE, "i", "a tensor's shape")
    exp = New(
        {
            Slot.OPERATOR_OPCODE: Scalar("I", operator.number(Slot.OPERATOR_OPCODE, "I")),
            Slot.OPERATOR_INPUTS: Old(inputs),
            Slot.OPERATOR_OUTPUTS: Numbers("i", [held]),
        }
    )
    again = New(
        {
            Slot.OPERATOR_OPCODE: Scalar("I", reshape),
            Slot.OPERATOR_INPUTS: Numbers("i", [held]),
            Slot.OPERATOR_OUTPUTS: Old(outputs),
            Slot.OPERATOR_OPTIONS_TYPE: Scalar("B", schema.RESHAPE_OPTIONS),
            Slot.OPERATOR_OPTIONS: New({Slot.RESHAPE_SHAPE: Numbers("i", shape)}),
        }
    )
    return [exp, again]


def _held(output: Table, scale: float, zero_point: int) -> New:
    """Return a tensor like an ELU's output, with the scale and zero point of EXP."""
    name = bytes(output.span(Slot.TENSOR_NAME, "a tensor's name"))
    fields: dict[int, Field] = {
        Slot.TENSOR_TYPE: Scalar("b", output.number(Slot.TENSOR_TYPE, "b")),
        Slot.TENSOR_BUFFER: Scalar("I", output.number(Slot.TENSOR_BUFFER, "I")),
        Slot.TENSOR_NAME: Text(name + b"/exp"),
        Slot.TENSOR_QUANTIZATION: New(
            {
                Slot.QUANTIZATION_SCALE: Numbers("f", [scale]),
                Slot.QUANTIZATION_ZERO_POINT: Numbers("q", [zero_point]),
            }
        ),
        Slot.TENSOR_HAS_RANK: Scalar("B", output.number(Slot.TENSOR_HAS_RANK, "B")),
    }
    shape = output.target(Slot.TENSOR_SHAPE)
    return New(fields if shape is None else {Slot.TENSOR_SHAPE: Old(shape), **fields})


def _same_exp(output: Table) -> tuple[float, int] | None:
    held = output.child(Slot.TENSOR_QUANTIZATION, "quantisation")
    if held is None:
        return None
    scales = held.numbers(Slot.QUANTIZATION_SCALE, "f", "scales")
    zero_points = held.integers(Slot.QUANTIZATION_ZERO_POINT, "q", "zero points")
    if zero_points != (ELU_ZERO_POINT,) or not scales:
        return None
    return _EXP.get(scales[0])
