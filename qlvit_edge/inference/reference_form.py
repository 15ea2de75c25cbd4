"""A model as the reference kernels can run it: they have EXP, but no ELU.

XNNPACK takes ELU and leaves EXP, so the softmax of a converted model makes e^x of ELU, whose zero
point is 127. EXP at another scale and zero point stores the same bytes, for the scales that
:mod:`qlvit_edge.integer.log2_softmax` allows; a RESHAPE then gives them ELU's scale and zero point.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.integer.log2_softmax import (
    ELU_ZERO_POINT,
    EXP_SCALE,
    EXP_ZERO_POINT,
    POWER_ELU_SCALE,
    power_scale,
)
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.metadata import pack
from qlvit_edge.presence import present

_EXP = {
    np.float32(EXP_SCALE): (EXP_SCALE, EXP_ZERO_POINT),
    np.float32(POWER_ELU_SCALE): (power_scale(0), 0),
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
        DeviceError: ai-edge-litert, whose schema is needed, is not installed.
        ModelFileError: the schema's own accessors do not find their way through it.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise DeviceError(
            "reference kernels", "need ai-edge-litert for a model with ELU", "install it"
        ) from error
    try:
        return _rewritten(model, schema)
    except Exception as error:  # the accessors check nothing: struct, index and type errors
        raise ModelFileError(
            subject, f"it cannot be rewritten ({type(error).__name__})", "use other kernels"
        ) from error


def _rewritten(model: bytes, schema: Any) -> bytes:
    tree: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    elu = [code for code in tree.operatorCodes if code.builtinCode == schema.BuiltinOperator.ELU]
    is_elu = {index for index, code in enumerate(tree.operatorCodes) if code in elu}
    changes = [
        _Change(graph, operator, _same_exp(graph.tensors[operator.outputs[0]]))
        for graph in tree.subgraphs
        for operator in graph.operators
        if operator.opcodeIndex in is_elu
    ]
    if any(change.held is None for change in changes):
        return model
    reshape = _code(tree, schema, "RESHAPE")
    for code in elu:
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.EXP
        code.version = 2
    for change in changes:
        _apply(change, reshape, schema)
    return pack(tree)


@dataclass(frozen=True)
class _Change:
    """An ELU to be changed.

    Attributes:
        graph: its subgraph.
        operator: the ELU.
        held: scale and zero point of the EXP that stores the same; None if there is none.
    """

    graph: Any
    operator: Any
    held: tuple[float, int] | None


def _apply(change: _Change, reshape: int, schema: Any) -> None:
    scale, zero_point = present(change.held, "what the EXP stores")
    graph, exp = change.graph, change.operator
    output = graph.tensors[exp.outputs[0]]
    held = copy.deepcopy(output)
    held.name = output.name + b"/exp"
    held.quantization.scale = np.array([scale], np.float32)
    held.quantization.zeroPoint = np.array([zero_point], np.int64)
    graph.tensors.append(held)
    again = schema.OperatorT()
    again.opcodeIndex = reshape
    again.inputs, again.outputs = [len(graph.tensors) - 1], list(exp.outputs)
    again.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    again.builtinOptions = schema.ReshapeOptionsT()
    again.builtinOptions.newShape = list(output.shape)
    graph.operators.insert(graph.operators.index(exp) + 1, again)
    exp.builtinOptionsType = schema.BuiltinOptions.ExpOptions
    exp.builtinOptions = schema.ExpOptionsT()
    exp.outputs = [len(graph.tensors) - 1]


def _same_exp(output: Any) -> tuple[float, int] | None:
    held = output.quantization
    if held is None or held.zeroPoint is None or list(held.zeroPoint) != [ELU_ZERO_POINT]:
        return None
    return _EXP.get(np.float32(held.scale[0]))


def _code(tree: Any, schema: Any, name: str) -> int:
    """Return the index of an operator's code, which is added if the model has none."""
    number = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(tree.operatorCodes):
        if code.builtinCode == number:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1
