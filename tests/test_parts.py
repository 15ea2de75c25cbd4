"""The profile's bookkeeping: which part an operator is of, and which operator a kernel ran for."""

from __future__ import annotations

import pytest

from qlvit_edge.measuring.parts import is_ours, match, part_of
from qlvit_edge.modelfile.document import Operator, Subgraph, Tensor


def _graph(*operators: tuple[str, str]) -> Subgraph:
    """Operators by (kind, name of the output), one after the other."""
    tensors = tuple(
        Tensor(name, (1,), "INT8", (), (), None, False, False, 1) for _, name in operators
    )
    made = tuple(Operator(kind, 1, (), (i,), "", 0) for i, (kind, _) in enumerate(operators))
    return Subgraph("main", tensors, made, (), ())


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        ("ADD", "image/int8", "stem and skip convolutions"),
        ("CONV_2D", "stem", "stem and skip convolutions"),
        ("CONV_2D", "block1/skip", "stem and skip convolutions"),
        ("CONCATENATION", "block1/skip_pool/wide", "stem and skip convolutions"),
        ("MUL", "block0/norm/squared", "normalisation"),
        ("ELU", "block0/dynamic/pi/exp", "dynamic convolution"),
        ("DEPTHWISE_CONV_2D", "block0/dynamic/shifted", "dynamic convolution"),
        ("ADD", "block0/activation/gate", "activation"),
        ("LOGISTIC", "block0/attention/sigmoid_k", "activation"),
        ("CONV_2D", "block0/attention/query", "projections"),
        ("PAD", "block1/attention/query_padded/rows/padded", "projections"),
        ("TRANSPOSE", "block0/attention/k/turned", "layout"),
        ("RESHAPE", "block0/attention/attended", "layout"),
        ("GATHER", "block0/attention/softmax_v/log_sum", "softmax"),
        ("BATCH_MATMUL", "block0/attention/key_value", "attention products"),
        ("BATCH_MATMUL", "block10/attention/product", "attention products"),
        ("ADD", "block0/attention/joined", "residual"),
        ("ADD", "block0/residual", "residual"),
        ("CONV_2D", "block0/kan/down", "KAN"),
        ("CONV_2D", "block0/mlp/expand", "MLP"),
        ("FULLY_CONNECTED", "head/logits", "head"),
    ],
)
def test_names_tell_the_part(kind: str, name: str, part: str) -> None:
    graph = _graph((kind, name), ("ADD", "block0/out"))
    assert part_of(graph.operators[0], graph) == part


def test_operators_of_other_networks_are_their_own_part() -> None:
    graph = _graph(("CONV_2D", "expanded_conv/Relu6"), ("MEAN", "stem/mean"))
    assert not is_ours(graph)
    assert [part_of(operator, graph) for operator in graph.operators] == ["CONV_2D", "MEAN"]


def test_kernels_are_matched_in_order_through_fusion_and_splitting() -> None:
    graph = _graph(
        ("RESHAPE", "a"), ("CONV_2D", "b"), ("ADD", "c"), ("MUL", "d"), ("RESHAPE", "e"),
        ("BATCH_MATMUL", "f"), ("CONV_2D", "g"), ("CONV_2D", "h"),
    )  # fmt: skip
    kernels = [
        "Static Reshape (NC)",
        "Convolution (NHWC, QC8) IGEMM",
        "Invalid Unary Op",  # ADD and MUL in one table
        "Static Reshape (NC)",
        "Batch Matrix Multiply (NC, QS8) GEMM",
        "Static Reshape (NC)",
        "Fully Connected (NC, QS8, QC8W) GEMM",
        "Fully Connected (NC, QS8, QC8W) GEMM",
    ]
    found = match(kernels, graph.operators)
    assert all(fits for _, fits in found)
    owners = [owner for owner, _ in found]
    assert owners == sorted(owners)
    assert owners[:2] == [0, 1]
    assert owners[2] in (2, 3)
    assert owners[3:5] == [4, 5]
    assert owners[6:] == [6, 7]


def test_a_kernel_without_an_operator_of_its_kind_is_said() -> None:
    graph = _graph(("CONV_2D", "a"))
    assert match(["Something New (NC)"], graph.operators) == [(0, False)]
