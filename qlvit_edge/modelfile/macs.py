"""Multiply-accumulates of one operator, counted from the shapes of what it reads and makes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qlvit_edge.modelfile.document import Tensor

RECURRENT = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)
"""Operators that multiply every time step with each of their matrices."""

UNCOUNTED = frozenset(
    {
        "CALL",
        "CALL_ONCE",
        "CUSTOM",
        "DELEGATE",
        "IF",
        "RFFT2D",
        "STABLEHLO_COMPOSITE",
        "STABLEHLO_CONVOLUTION",
        "STABLEHLO_CUSTOM_CALL",
        "STABLEHLO_DOT_GENERAL",
        "STABLEHLO_REDUCE_WINDOW",
        "STABLEHLO_WHILE",
        "WHILE",
    }
)
"""Operators that may multiply, and whose products are not counted; so are unknown ones."""

_SHORT_LSTM_INPUTS = 5
"""Inputs of the LSTM cell of which one matrix holds all weights: the third."""

Tensors = Sequence[Tensor | None]


def is_counted(name: str) -> bool:
    """Tell whether the products of an operator of this name are counted, none being a count."""
    return name not in UNCOUNTED and not name.startswith("UNKNOWN_")


def count_macs(name: str, inputs: Tensors, outputs: Tensors, *, adjoint_x: bool = False) -> int:
    """Count the multiply-accumulates of one inference.

    Weights are (O, H, W, I) for CONV_2D and TRANSPOSE_CONV, (1, H, W, O) for
    DEPTHWISE_CONV_2D, (D, H, W, I, O) for CONV_3D, (D, H, W, O, I) for CONV_3D_TRANSPOSE and
    (O, I) for FULLY_CONNECTED. Of recurrent operators the matrices are counted, for every time
    step; what their gates multiply element by element is not.

    Args:
        name: the schema's name of the operator.
        inputs: what it reads; None for what is left out.
        outputs: what it makes; None likewise.
        adjoint_x: whether BATCH_MATMUL transposes its first input.

    Returns:
        0 for shapes that do not fit the operator, and for operators that multiply nothing or
        are not counted, see `is_counted`.
    """
    shapes = [() if tensor is None else tensor.shape for tensor in inputs]
    if len(shapes) < 2 or not outputs or outputs[0] is None:
        return 0
    weights, produced = shapes[1], math.prod(outputs[0].shape)
    if name in RECURRENT:
        return math.prod(shapes[0][:-1]) * _matrices(name, inputs)
    if name == "CONV_2D" and len(weights) == 4:
        return produced * math.prod(weights[1:])
    if name == "DEPTHWISE_CONV_2D" and len(weights) == 4:
        return produced * weights[1] * weights[2]
    if name == "FULLY_CONNECTED" and len(weights) == 2:
        return produced * weights[1]
    if name == "BATCH_MATMUL" and len(shapes[0]) >= 2:
        return produced * shapes[0][-2 if adjoint_x else -1]
    if name == "TRANSPOSE_CONV" and len(shapes) >= 3:
        return math.prod(shapes[2]) * math.prod(weights[:3])
    if name == "CONV_3D" and len(weights) == 5:
        return produced * math.prod(weights[:4])
    if name == "CONV_3D_TRANSPOSE" and len(weights) == 5 and len(shapes) >= 3:
        return math.prod(shapes[2]) * math.prod(weights[:4])
    return 0


def _matrices(name: str, inputs: Tensors) -> int:
    """Return how many values the matrices of a recurrent operator hold together."""
    candidates = inputs[1:]
    if name == "LSTM" and len(inputs) == _SHORT_LSTM_INPUTS:
        candidates = inputs[2:3]
    return sum(
        math.prod(tensor.shape)
        for tensor in candidates
        if tensor is not None and len(tensor.shape) == 2 and not tensor.is_variable
    )
