"""The operators that a model may have before native code is given it.

An allow-list: arithmetic on dense tensors, which is all that a network for classification
needs, from this project or from a stock converter. What keeps state, calls other graphs, draws
random numbers, looks up strings or comes from a library of its own is refused, whatever the
runtime would do with it. The one custom operator is what Edge TPU's compiler writes.
"""

from __future__ import annotations

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.document import Document

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
