"""What the operations of a float graph mean, in PyTorch: for a batch, with derivatives.

Graphs hold maps as (1, H, W, C); here the leading 1 is the batch. FLOOR, of which the codes of
eq. 6 are made, has the derivative of its argument, as everything that rounds in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from qlvit_edge.converters.graph import Operation
from qlvit_edge.converters.ops.activation import Exp, Floor, HardSwish, Log, Logistic, Rsqrt
from qlvit_edge.converters.ops.concatenation import Concatenation
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Div, Maximum, Minimum, Mul, Sub
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean, ReduceMax, Sum
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Slice, Transpose
from qlvit_edge.presence import present

Meaning = Callable[[Any, list[Tensor]], Tensor]


def meaning(operation: Operation, inputs: list[Tensor]) -> Tensor:
    """Return what a float operation makes of a batch.

    Args:
        operation: of a float graph without rewrites.
        inputs: activations (B, …), constants as they are.

    Raises:
        ConversionError: it has no meaning here.
    """
    found = _MEANINGS.get(type(operation))
    if found is None:
        raise operation.refuse("has no derivative", "fine-tune another network")
    return found(operation, inputs)


def _conv(operation: Conv2D, inputs: list[Tensor]) -> Tensor:
    x, weight, bias = inputs
    _, rows, columns, read = weight.shape
    _no_padding(operation)
    if (rows, columns) == (1, 1) and operation.stride == (1, 1) and read == x.shape[3]:
        return _activated(operation, functional.linear(x, weight[:, 0, 0], bias))
    if columns == 1 and rows * operation.dilation == x.shape[1] and read == x.shape[3]:
        # Maps above each other: one position of each is one matrix product.
        apart = x.reshape(len(x), rows, operation.dilation, *x.shape[2:])
        beside = apart.permute(0, 2, 3, 1, 4).flatten(3)
        flat = weight[:, :, 0].flatten(1)
        return _activated(operation, functional.linear(beside, flat, bias))
    made = functional.conv2d(
        x.permute(0, 3, 1, 2),
        weight.permute(0, 3, 1, 2),
        bias,
        stride=operation.stride,
        dilation=(operation.dilation, 1),
        groups=x.shape[3] // read,
    )
    return _activated(operation, made.permute(0, 2, 3, 1))


def _depthwise(operation: DepthwiseConv2D, inputs: list[Tensor]) -> Tensor:
    x, weight, bias = inputs
    _no_padding(operation)
    if weight.shape[1:3] == (1, 1) and weight.shape[3] == x.shape[3]:
        return _activated(operation, x * weight[0, 0, 0] + bias)
    made = functional.conv2d(
        x.permute(0, 3, 1, 2),
        weight.permute(3, 0, 1, 2),
        bias,
        stride=operation.stride,
        groups=x.shape[3],
    )
    return _activated(operation, made.permute(0, 2, 3, 1))


def _no_padding(operation: Conv2D | DepthwiseConv2D) -> None:
    if operation.padding != "VALID":
        raise operation.refuse("pads by itself", "lower the float graph without rewrites")


def _activated(operation: Any, x: Tensor) -> Tensor:
    return torch.relu(x) if operation.activation == "RELU" else x


def _pad(operation: Pad, inputs: list[Tensor]) -> Tensor:
    amounts = [side for pair in reversed(operation.constant()) for side in pair]
    value = float(inputs[2]) if isinstance(operation, PadV2) else 0.0
    return functional.pad(inputs[0], amounts, value=value)


def _reshape(operation: Reshape, inputs: list[Tensor]) -> Tensor:
    return inputs[0].reshape(len(inputs[0]), *operation.output.shape[1:])


def _slice(operation: Slice, inputs: list[Tensor]) -> Tensor:
    begin, size = (present(tensor.data, "where a slice lies") for tensor in operation.inputs[1:])
    box = tuple(slice(b, b + s) for b, s in zip(begin[1:].tolist(), size[1:].tolist(), strict=True))
    return inputs[0][(slice(None), *box)]


def _concatenation(operation: Concatenation, inputs: list[Tensor]) -> Tensor:
    batch = max(map(len, inputs))  # constants have a batch of one
    return torch.cat([x.expand(batch, *x.shape[1:]) for x in inputs], operation.axis)


def _matmul(operation: BatchMatMul, inputs: list[Tensor]) -> Tensor:
    left, right = inputs
    left = left.mT if operation.adjoint_a else left
    return left @ (right.mT if operation.adjoint_b else right)


def _max_pool(operation: MaxPool2D, inputs: list[Tensor]) -> Tensor:
    made = functional.max_pool2d(inputs[0].permute(0, 3, 1, 2), operation.window, operation.stride)
    return made.permute(0, 2, 3, 1)


def _floor(operation: Floor, inputs: list[Tensor]) -> Tensor:
    del operation
    return inputs[0] + (torch.floor(inputs[0]) - inputs[0]).detach()


def _sum(operation: Add | Sub, inputs: list[Tensor]) -> Tensor:
    return _activated(operation, inputs[0] + operation.sign * inputs[1])


_MEANINGS: Final[dict[type[Operation], Meaning]] = {
    Conv2D: _conv,
    DepthwiseConv2D: _depthwise,
    Pad: _pad,
    PadV2: _pad,
    Reshape: _reshape,
    Transpose: lambda operation, x: x[0].permute(operation.constant()[0]),
    Slice: _slice,
    Concatenation: _concatenation,
    MaxPool2D: _max_pool,
    BatchMatMul: _matmul,
    Mean: lambda operation, x: x[0].mean(operation.axes, keepdim=True),
    Sum: lambda operation, x: x[0].sum(operation.axes, keepdim=True),
    ReduceMax: lambda operation, x: x[0].amax(operation.axes, keepdim=True),
    Add: _sum,
    Sub: _sum,
    Mul: lambda operation, x: x[0] * x[1],
    Div: lambda operation, x: x[0] / x[1],
    Maximum: lambda operation, x: torch.maximum(*x),
    Minimum: lambda operation, x: torch.minimum(*x),
    Exp: lambda operation, x: x[0].exp(),
    Log: lambda operation, x: x[0].log(),
    Rsqrt: lambda operation, x: x[0].rsqrt(),
    Logistic: lambda operation, x: x[0].sigmoid(),
    HardSwish: lambda operation, x: functional.hardswish(x[0]),
    Floor: _floor,
}
