"""What an Edge TPU runs: the documented rules, operator by operator, and its memory.

Sources: "TensorFlow models on the Edge TPU" (https://coral.ai/docs/edgetpu/models-intro/,
model requirements and table of supported operations for runtime version 14) and "Edge TPU
Compiler" (https://coral.ai/docs/edgetpu/compiler/, one subgraph, parameter caching). The
compiler is closed and knows more limits than it documents, so a yes here is a forecast. Where
compiled networks and logs of the compiler contradict the documents they are followed, and
:func:`remark` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from qlvit_edge.modelfile.document import Operator, Tensor

SRAM_BYTES = 8 * 1024 * 1024
"""On-chip memory, of which executable and activations take a part."""

PARAMETER_BYTES = (6.9 * 1024 * 1024, 7.6 * 1024 * 1024)
"""What logs of the compiler show as room for parameters: least and most seen, in bytes."""

INNER_DIMENSIONS = 3
MAP_RANK = 4
_QUANTISED = frozenset({"INT8", "UINT8"})
_DOCUMENTED_SOFTMAX = 16_000
_LARGEST_SOFTMAX = 16_384  # mapped in a compiled network
_KNOWN_ENLARGEMENT = 2  # mapped
_LARGEST_ENLARGEMENT = 8  # a guess: compiled networks leave 15.5-fold and 33-fold to the CPU
_WITH_KERNELS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})

Device = Literal["tpu", "cpu"]
Tensors = Sequence[Tensor | None]
Rule = Callable[[Operator, Tensors, Tensors], str | None]


def limitation(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    """Tell why the Edge TPU does not run an operator.

    Args:
        operator: the operator with its options.
        inputs: its inputs, None where an optional one is left out.
        outputs: its outputs.

    Returns:
        The rule it breaks, in words; None when it keeps all documented ones.
    """
    if operator.name not in _RULES:
        return "operator not supported"
    tensors = [tensor for tensor in (*inputs, *outputs) if tensor is not None]
    # Kernels have four dimensions by nature; the rule is about maps.
    kernels = inputs[1:] if operator.name in _WITH_KERNELS else ()
    maps = [tensor for tensor in tensors if tensor not in kernels]
    reasons = (
        *map(_numbers, tensors),
        *(rule(operator, inputs, outputs) for rule in _RULES[operator.name]),
        *map(_dimensions, maps),
    )
    return next((reason for reason in reasons if reason is not None), None)


def remark(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    """Tell what makes a forecast doubtful that an operator is mapped.

    Args:
        operator: one for which :func:`limitation` knows no reason.
        inputs: its inputs.
        outputs: its outputs.

    Returns:
        Where documents, logs and compiled networks disagree, in words; None if they do not.
    """
    if operator.name == "TRANSPOSE":
        return (
            "the documents name no conditions; logs of compiler 16 show it mapped in most newer "
            "networks, not in all"
        )
    if operator.name == "TILE":
        return "not in the documents; mapped in a compiled network"
    if operator.name == "SOFTMAX" and _elements(_first(inputs)) > _DOCUMENTED_SOFTMAX:
        return f"documented up to {_DOCUMENTED_SOFTMAX} elements; a compiled network has more"
    if operator.name == "RESIZE_BILINEAR" and _enlargement(inputs, outputs) > _KNOWN_ENLARGEMENT:
        return "seen mapped when it doubles the sides, not at 15-fold; between is not known"
    return None


def _numbers(tensor: Tensor) -> str | None:
    """Only 8-bit values with a scale."""
    if tensor.dtype == "INT32" and tensor.is_constant:
        return None  # a bias, axes, a shape
    if tensor.is_variable:
        return None  # the state of an LSTM, whose cells have 16 bits in an 8-bit network
    if tensor.dtype not in _QUANTISED:
        return f"{tensor.dtype} tensor, only 8-bit ones are run"
    if not tensor.scales:
        return "tensor without a scale"
    return None


def _dimensions(tensor: Tensor) -> str | None:
    if any(size > 1 for size in tensor.shape[:-INNER_DIMENSIONS]):
        shape = "×".join(map(str, tensor.shape))
        return f"shape {shape}: only the three innermost dimensions may be larger than 1"
    return None


def _first(tensors: Tensors) -> Tensor | None:
    return tensors[0] if tensors else None


def _at(tensors: Tensors, index: int) -> Tensor | None:
    return tensors[index] if index < len(tensors) else None


def _constant(*indices: int) -> Rule:
    """Parameters that must be known to the compiler."""

    def rule(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
        for index in indices:
            tensor = _at(inputs, index)
            if tensor is not None and not tensor.is_constant:
                return "its parameters are not constant"
        return None

    return rule


def _no_activation(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    return "fused activation" if operator.options.get("fused_activation") else None


def _equal_dilation(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    x, y = operator.options.get("dilation_w", 1), operator.options.get("dilation_h", 1)
    return None if x == y else f"dilation {y} by {x}, both must be equal"


def _single_group(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    x, weights = _first(inputs), _at(inputs, 1)
    if x is None or weights is None or not x.shape or not weights.shape:
        return None
    return None if x.shape[-1] == weights.shape[-1] else "channels in groups, not documented"


def _batch_stays(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    """A reduction must leave the batch; its axes are the second input."""
    x, axes = _first(inputs), _at(inputs, 1)
    if x is None or axes is None or axes.values is None:
        return "axes not known to the compiler"
    rank = len(x.shape)
    if any(axis % max(rank, 1) == 0 for axis in axes.values):
        return "reduces the batch dimension"
    return None


def _mean_depth(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    x, axes = _first(inputs), _at(inputs, 1)
    if x is None or axes is None or axes.values is None or not x.shape:
        return None
    last = len(x.shape) - 1
    if any(axis % (last + 1) == last for axis in axes.values) and x.shape[-1] % 4:
        return f"averages {x.shape[-1]} channels, no multiple of 4"
    return None


def _batch_padding(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    amounts = _at(inputs, 1)
    if amounts is None or amounts.values is None:
        return "padding not known to the compiler"
    return "pads the batch dimension" if any(amounts.values[:2]) else None


def _vector_output(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    out = _first(outputs)
    if out is not None and sum(size > 1 for size in out.shape) > 1:
        return "output of more than one dimension"
    return "weights not in the default format" if operator.options.get("weights_format") else None


def _join_axis(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    if any(tensor is not None and tensor.is_constant for tensor in inputs):
        # Allowed for two inputs of which one is all zeros; the reader keeps no such values.
        return "joins a constant"
    x, axis = _first(inputs), operator.options.get("axis", 0)
    rank = 0 if x is None else len(x.shape)
    return "joins along the batch dimension" if rank and axis % rank == 0 else None


def _pack_axis(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    out = _first(outputs)
    rank = 1 if out is None else max(len(out.shape), 1)
    batch = operator.options.get("axis", 0) % rank == 0
    return "packs along the batch dimension" if batch else None


def _vector_softmax(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    x = _first(inputs)
    if x is None:
        return None
    if sum(size > 1 for size in x.shape) > 1:
        return "more than one dimension"
    if _elements(x) > _LARGEST_SOFTMAX:
        return f"{_elements(x)} elements, at most {_LARGEST_SOFTMAX}"
    return None


def _elements(tensor: Tensor | None) -> int:
    return 0 if tensor is None else math.prod(tensor.shape)


def _narrow_alpha(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    alpha = _at(inputs, 1)
    if alpha is not None and any(size > 1 for size in alpha.shape[:-1]):
        return "alpha of more than one dimension"
    return None


def _split_axis(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    axis, x = _first(inputs), _at(inputs, 1)
    if axis is None or not axis.values or x is None:
        return "axis not known to the compiler"
    batch = axis.values[0] % max(len(x.shape), 1) == 0
    return "splits the batch dimension" if batch else None


def _leading_ones(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    """Only dimensions with nothing but ones before them go: the values stay where they are."""
    x, out = _first(inputs), _first(outputs)
    if x is None or out is None:
        return None
    removed = len(x.shape) - len(out.shape)
    kept = x.shape[max(removed, 0) :]
    if kept == out.shape and all(size == 1 for size in x.shape[: max(removed, 0)]):
        return None
    return "removes a dimension that is not a leading one"


def _batch_once(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    repeats = _at(inputs, 1)
    if repeats is None or not repeats.values:
        return "repeats not known to the compiler"
    return "repeats the batch dimension" if repeats.values[0] != 1 else None


def _enlargement(inputs: Tensors, outputs: Tensors) -> float:
    """By how much the longer side of a map grows, as a factor; 0 for what is no map."""
    x, out = _first(inputs), _first(outputs)
    if x is None or out is None or len(x.shape) != len(out.shape) or len(x.shape) != MAP_RANK:
        return 0.0
    pairs = zip(x.shape[1:3], out.shape[1:3], strict=True)
    return max(grown / max(size, 1) for size, grown in pairs)


def _small_enlargement(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    factor = _enlargement(inputs, outputs)
    if factor <= _LARGEST_ENLARGEMENT:
        return None
    return f"enlarges {factor:.3g}-fold; compiled networks leave 15-fold and more to the CPU"


def _unit_strides(operator: Operator, inputs: Tensors, outputs: Tensors) -> str | None:
    if operator.options.get("ellipsis_mask") or operator.options.get("new_axis_mask"):
        return "ellipsis or new axis"
    strides = _at(inputs, 3)
    if strides is None or strides.values is None:
        return "strides not known to the compiler"
    return None if all(step == 1 for step in strides.values) else "strides other than 1"


_RULES: dict[str, tuple[Rule, ...]] = {
    "ADD": (),
    "AVERAGE_POOL_2D": (_no_activation,),
    "CONCATENATION": (_no_activation, _join_axis),
    "CONV_2D": (_constant(1, 2), _equal_dilation, _single_group),
    "DEPTHWISE_CONV_2D": (_constant(1, 2), _equal_dilation),
    "EXPAND_DIMS": (_constant(1),),
    "FULLY_CONNECTED": (_constant(1, 2), _vector_output),
    "L2_NORMALIZATION": (),
    "LOGISTIC": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (_no_activation,),
    "MEAN": (_batch_stays, _mean_depth),
    "MINIMUM": (),
    "MUL": (),
    "PACK": (_pack_axis,),
    "PAD": (_batch_padding,),
    "PRELU": (_constant(1), _narrow_alpha),
    "QUANTIZE": (),
    "REDUCE_MAX": (_batch_stays,),
    "REDUCE_MIN": (_batch_stays,),
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (_constant(1),),
    "RESIZE_BILINEAR": (_constant(1), _small_enlargement),
    "RESIZE_NEAREST_NEIGHBOR": (_constant(1),),
    "RSQRT": (),
    "SLICE": (_constant(1, 2),),
    "SOFTMAX": (_vector_softmax,),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (_split_axis,),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (_leading_ones,),
    "STRIDED_SLICE": (_unit_strides,),
    "SUB": (),
    "SUM": (_batch_stays,),
    "TANH": (),
    "TILE": (_batch_once,),
    "TRANSPOSE": (),
    "TRANSPOSE_CONV": (_constant(0, 1),),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (_constant(*range(1, 18)),),
}
SUPPORTED = frozenset(_RULES)
"""Names of the operators that the Edge TPU runs under conditions."""
