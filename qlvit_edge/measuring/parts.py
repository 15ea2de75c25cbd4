"""Which part of the network an operator belongs to, and which operators a kernel ran for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qlvit_edge.modelfile.document import Operator, Subgraph

_BLOCK = re.compile(r"block\d+")
_LAYOUT = frozenset({"RESHAPE", "TRANSPOSE", "BITCAST", "CONCATENATION", "SLICE", "SPLIT"})
_SECTIONS = {
    "norm": "normalisation",
    "dynamic": "dynamic convolution",
    "activation": "activation",
    "skip": "stem and skip convolutions",
    "skip_pool": "stem and skip convolutions",
    "residual": "residual",
    "out": "residual",
    "kan": "KAN",
    "mlp": "MLP",
}
_ATTENTION = {
    "softmax_v": "softmax",
    "key_value": "attention products",
    "key_value_scaled": "attention products",
    "product": "attention products",
    "sigmoid_q": "activation",
    "sigmoid_k": "activation",
    "joined": "residual",
}
_KERNELS = (
    # Beginning of XNNPACK's name for an operator, and the operators it runs for.
    ("Convolution (NHWC, QC8) DWConv", {"DEPTHWISE_CONV_2D"}),
    ("Convolution (NHWC, F32) DWConv", {"DEPTHWISE_CONV_2D"}),
    ("Convolution", {"CONV_2D", "DEPTHWISE_CONV_2D"}),
    ("Fully Connected", {"CONV_2D", "FULLY_CONNECTED"}),
    ("Batch Matrix Multiply", {"BATCH_MATMUL"}),
    ("Add", {"ADD"}),
    ("Subtract", {"SUB"}),
    ("Multiply", {"MUL"}),
    ("Maximum", {"MAXIMUM"}),
    ("Minimum", {"MINIMUM"}),
    ("Sigmoid", {"LOGISTIC"}),
    ("Transpose", {"TRANSPOSE"}),
    ("Constant Pad", {"PAD", "PADV2"}),
    ("Max Pooling", {"MAX_POOL_2D"}),
    ("Mean", {"MEAN"}),
    ("Sum", {"SUM"}),
    ("Reduce Max", {"REDUCE_MAX"}),
    ("Reduce Min", {"REDUCE_MIN"}),
    ("Invalid Unary Op", {"ADD", "MUL", "HARD_SWISH", "QUANTIZE"}),
    ("Copy", {"CONCATENATION", "SLICE", "SPLIT"}),
    ("Static Reshape", _LAYOUT),
)
# Costs: a kernel of another kind; a second one; a reshape for what is none; none at all.
_WRONG, _AGAIN, _RESHAPED, _PASSED_OVER = 3.0, 1.0, 0.5, 0.3


def part_of(operator: Operator, graph: Subgraph) -> str:
    """Return the part of the network that an operator computes, by its output's name.

    The names are those that lowering gives. Operators of other networks are their own part:
    the operator's name.
    """
    if not operator.outputs or not is_ours(graph):
        return operator.name
    first, *rest = graph.tensors[operator.outputs[0]].name.split("/")
    if first in ("image", "stem"):
        return "stem and skip convolutions"
    if not _BLOCK.fullmatch(first):
        return "head"
    if rest[:1] != ["attention"]:
        return _SECTIONS.get(rest[0], "other") if rest else "other"
    if len(rest) > 1 and rest[1] in _ATTENTION:
        return _ATTENTION[rest[1]]
    return "layout" if operator.name in _LAYOUT else "projections"


def is_ours(graph: Subgraph) -> bool:
    """Tell whether the graph has the tensor names that lowering gives."""
    names = (graph.tensors[index].name for op in graph.operators for index in op.outputs)
    return any(_BLOCK.fullmatch(name.partition("/")[0]) for name in names)


def match(kernels: Sequence[str], operators: Sequence[Operator]) -> list[tuple[int, bool]]:
    """Find the operator that each kernel of a delegate's part ran for.

    A delegate fuses operators and splits others, but keeps their order; so kernels are given
    to operators in order (dynamic programming), with as few as possible going to an operator
    of another kind, to one that has its kernel already, or past one without any.

    Args:
        kernels: names of the kernels, in the order they ran.
        operators: those of the part, in the file's order; at least one.

    Returns:
        For each kernel: index of its operator, and whether it is of a fitting kind.
    """
    passed = [0.0 if op.name in _LAYOUT else _PASSED_OVER for op in operators]
    before = [0.0]  # cost of passing over all operators before this one
    for cost in passed:
        before.append(before[-1] + cost)
    costs = [before[j] + _unlike(kernels[0], op) for j, op in enumerate(operators)]
    steps: list[list[int]] = [list(range(len(operators)))]
    for kernel in kernels[1:]:
        following, step = [], []
        best, best_at = float("inf"), -1  # cheapest earlier operator, relative to `before`
        for j, operator in enumerate(operators):
            again = 0.0 if kernel.startswith("Static Reshape") else _AGAIN
            stay, move = costs[j] + again, best + before[j]
            following.append(min(stay, move) + _unlike(kernel, operator))
            step.append(j if stay <= move else best_at)
            if costs[j] - before[j + 1] < best:
                best, best_at = costs[j] - before[j + 1], j
        costs = following
        steps.append(step)
    ends = [cost + before[-1] - before[j + 1] for j, cost in enumerate(costs)]
    at = ends.index(min(ends))
    path = [at]
    for step in reversed(steps[1:]):
        at = step[at]
        path.append(at)
    path.reverse()
    return [
        (j, _unlike(kernel, operators[j]) < _WRONG) for kernel, j in zip(kernels, path, strict=True)
    ]


def _unlike(kernel: str, operator: Operator) -> float:
    for beginning, kinds in _KERNELS:
        if kernel.startswith(beginning):
            if operator.name in kinds:
                return 0.0
            # Reshapes are also made around products and convolutions.
            return _RESHAPED if beginning == "Static Reshape" else _WRONG
    return _WRONG
