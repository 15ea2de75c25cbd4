"""The operators that a model may have before native code is given it.

Two allow-lists. `ALLOWED_OPERATORS`: arithmetic on dense tensors, from this project or from a
stock converter. What keeps state, calls other graphs, draws random numbers, looks up strings or
comes from a library of its own is outside, whatever the runtime would do with it. The one custom
operator is what Edge TPU's compiler writes.

`RUNNING_OPERATORS`: those of them that image classifiers are made of, earlier files of this project
included (BITWISE_XOR). What may run is only these,
unless somebody says otherwise. Where an operand alone decides how large the result is, it has to be
a constant that says what the file says. Where it decides what is left of the input, or its shape,
it may be computed, but not from pixels: nothing in an image decides how much memory is taken.
"""

from __future__ import annotations

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.document import Document, Operator, Subgraph, Tensor
from qlvit_edge.modelfile.schema import BUILTIN_OPERATORS

EDGETPU_OPERATOR = "edgetpu-custom-op"

_NAMES = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BITCAST BITWISE_XOR
BROADCAST_ARGS BROADCAST_TO BUCKETIZE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE
DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD
FULLY_CONNECTED GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION
L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOCAL_RESPONSE_NORMALIZATION LOG LOG_SOFTMAX LOGICAL_AND
LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL
ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE RANGE RANK REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN
REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
REVERSE_V2 RIGHT_SHIFT ROUND RSQRT SELECT SELECT_V2 SHAPE SIGN SIN SLICE SOFTMAX
SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE
STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
ALLOWED_OPERATORS: frozenset[str] = frozenset(_NAMES.split())

_RUNNING = """
ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL BITCAST BITWISE_XOR BROADCAST_TO CAST CONCATENATION
CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EXP EXPAND_DIMS FILL FLOOR
FULLY_CONNECTED GATHER GELU HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOG LOGISTIC LOG_SOFTMAX MAXIMUM
MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN
REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
RIGHT_SHIFT ROUND RSQRT SHAPE SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE UNPACK
"""
RUNNING_OPERATORS: frozenset[str] = frozenset(_RUNNING.split())

_SIZED_BY = {
    "BROADCAST_TO": 1,
    "FILL": 0,
    "MIRROR_PAD": 1,
    "PAD": 1,
    "PADV2": 1,
    "RESIZE_BILINEAR": 1,
    "RESIZE_NEAREST_NEIGHBOR": 1,
    "TILE": 1,
}
"""Operators whose result is as large as an operand says: number of that operand."""

_SHAPED_BY = {
    "EXPAND_DIMS": (1,),
    "MEAN": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESHAPE": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TRANSPOSE": (1,),
}
"""Operators whose result has another shape as operands say: numbers of these. What they give can
be broadcast to more than went in."""

_OTHERWISE = "give an image classifier, or allow it with --allow-operators {}"


def require_allowed(document: Document, subject: object) -> Document:
    """Return `document` if each of its operators may reach native code.

    Args:
        document: what the reader made of the file.
        subject: what errors call the file.

    Raises:
        ModelFileError: naming the first operator that is not allowed, or what does not fit.
    """
    if document.misfits:
        raise ModelFileError(subject, document.misfits[0], "convert the model again")
    for operator in document.operators:
        if operator.name == "CUSTOM":
            if operator.custom_code == EDGETPU_OPERATOR:
                continue
            finding = f"it needs the custom operator {operator.custom_code[:60]!r}"
            raise ModelFileError(subject, finding, "give a model of builtin operators")
        if operator.name not in ALLOWED_OPERATORS:
            finding = f"it needs the operator {operator.name}, which is not allowed"
            raise ModelFileError(subject, finding, "give a classifier of dense arithmetic")
    return document


def require_runnable(
    document: Document, subject: object, further: frozenset[str] = frozenset()
) -> Document:
    """Return `document` if each of its operators may run, and its answer is the image's alone.

    Args:
        document: what the reader made of the file.
        subject: what errors call the file.
        further: operators that may run besides `RUNNING_OPERATORS`, whatever decides their sizes.

    Raises:
        ModelFileError: naming the first operator that may not.
    """
    for graph in document.subgraphs:
        _require_values(graph, subject, stateful=bool(further))
        of_pixels = _of_pixels(graph)
        for operator in graph.operators:
            if operator.name in further:
                continue
            if operator.name == "CUSTOM" or operator.name not in BUILTIN_OPERATORS:
                require_allowed(document, subject)
                continue
            if operator.name not in RUNNING_OPERATORS:
                finding = f"it needs the operator {operator.name}, which is not allowed to run"
                raise ModelFileError(subject, finding, _OTHERWISE.format(operator.name))
            if operator.name in _SIZED_BY:
                _require_stated_size(operator, graph.tensors, subject)
            shaping = (operator.inputs[at : at + 1] for at in _SHAPED_BY.get(operator.name, ()))
            if not of_pixels.isdisjoint(index for operand in shaping for index in operand):
                finding = f"its operator {operator.name} takes its shape from pixels"
                raise ModelFileError(subject, finding, _OTHERWISE.format(operator.name))
    return document


def _require_values(graph: Subgraph, subject: object, *, stateful: bool) -> None:
    """Refuse a graph in which something is left from the image before, or was never written.

    Each tensor is made once, before it is read; constants and inputs are not written.
    """
    known = {-1, *graph.inputs}
    for index, tensor in enumerate(graph.tensors):
        if tensor.is_variable and not stateful:
            finding = "it keeps values from one image to the next"
            raise ModelFileError(subject, finding, "give an image classifier")
        if tensor.is_constant or tensor.is_variable or not tensor.nbytes:
            known.add(index)
    for operator in graph.operators:
        if not known.issuperset(operator.inputs):
            finding = f"its operator {operator.name} reads what no operator before it makes"
            raise ModelFileError(subject, finding, "convert the model again")
        for index in operator.outputs:
            if index in known and index >= 0 and graph.tensors[index].nbytes:
                finding = f"its operator {operator.name} writes what has a value already"
                raise ModelFileError(subject, finding, "convert the model again")
            known.add(index)


def _of_pixels(graph: Subgraph) -> set[int]:
    """Return the tensors whose values depend on the graph's input, and not on its shape alone."""
    readers: dict[int, list[int]] = {}
    for number, operator in enumerate(graph.operators):
        for index in operator.inputs if operator.name != "SHAPE" else ():
            readers.setdefault(index, []).append(number)
    found, passed = set(graph.inputs), set()
    left = list(graph.inputs)
    while left:
        for number in readers.pop(left.pop(), ()):
            if number not in passed:
                passed.add(number)
                found.update(graph.operators[number].outputs)
                left += graph.operators[number].outputs
    return found


def _require_stated_size(operator: Operator, tensors: tuple[Tensor, ...], subject: object) -> None:
    """Refuse an operator whose result may be larger than the file says."""
    number = _SIZED_BY[operator.name]
    indices = (*operator.inputs[: number + 1], *operator.outputs[:1])
    if len(indices) != number + 2 or min(indices) < 0:
        raise ModelFileError(
            subject, f"its operator {operator.name} lacks operands", "convert the model again"
        )
    values = tensors[operator.inputs[number]].values
    given, made = tensors[operator.inputs[0]].shape, tensors[operator.outputs[0]].shape
    if values is None:
        finding = f"its operator {operator.name} takes its size from another operator"
        raise ModelFileError(subject, finding, _OTHERWISE.format(operator.name))
    sizes = _made_by(operator.name, given, made, values)
    if sizes != made:
        finding = (
            f"its operator {operator.name} asks for {_in_words(sizes)}, the file says "
            f"{_in_words(made)}"
        )
        raise ModelFileError(subject, finding, "convert the model again")


def _in_words(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "sizes that do not fit its shape"
    return "×".join(map(str, shape)) or "one value"


def _made_by(
    name: str, given: tuple[int, ...], made: tuple[int, ...], values: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the shape that an operator's sizes ask for; None where they do not fit it."""
    if name in ("BROADCAST_TO", "FILL"):
        return values
    if name.startswith("RESIZE"):
        return (*made[:1], *values, *made[3:]) if len(made) == 4 else None
    if name == "TILE":
        if len(values) != len(given):
            return None
        return tuple(side * times for side, times in zip(given, values, strict=True))
    if len(values) != 2 * len(given):
        return None
    pairs = zip(given, values[::2], values[1::2], strict=True)
    return tuple(before + side + after for side, before, after in pairs)
