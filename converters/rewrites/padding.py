"""Padding, as the kernels take it fastest.

Idioms pad maps with a PAD of their own before a convolution that does not pad. Three rules make
of that what is written: a convolution that would pad the same by itself does; an image that is
read with a stride is folded; what padding is left copies rows instead of pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qlvit_edge.converters.graph import Graph, Operation, Tensor
from qlvit_edge.converters.idioms.layout import pad_map, reshape
from qlvit_edge.converters.ops.convolution import (
    Conv2D,
    DepthwiseConv2D,
    DynamicDepthwiseConv2D,
    same_padding,
)
from qlvit_edge.converters.ops.shape import Pad, PadV2
from qlvit_edge.converters.rewrites.walk import Rewriting, rewritten
from qlvit_edge.presence import present

_FEW_CHANNELS = 4


def absorb_padding(graph: Graph) -> Graph:
    """Let convolutions pad by themselves where TFLite's SAME is what pads them.

    The PAD stays in the graph, for others may read it; see `without_unused`.
    """
    return rewritten(graph, _absorbed)


def fold_columns(graph: Graph) -> Graph:
    """Read as many columns of a padded image as the stride as channels of one cell.

    Kernels round the channels of every tap up to 4 or 8: three are dear (35 µs for a 7×7/4
    stem on 96×96; 4·3 channels and two taps a row instead of seven, the eighth zero: 22).
    """
    return rewritten(graph, _folded)


def pad_by_rows(graph: Graph) -> Graph:
    """Pad (1, H, W·C) rows: kernels then copy rows, not pixels (3 µs, not 96, for 96×96×3)."""
    return rewritten(graph, _by_rows)


def _absorbed(operation: Operation, writing: Rewriting) -> Tensor:
    if not isinstance(operation, Conv2D | DepthwiseConv2D | DynamicDepthwiseConv2D):
        return writing.emit(operation)
    pad = _padding_of(operation.inputs[0], writing)
    if pad is None or operation.padding == "SAME":
        return writing.emit(operation)
    source = pad.inputs[0]
    same = [
        list(same_padding(size, extent, step))
        for size, extent, step in zip(
            source.shape[1:3], operation.extent(), operation.stride, strict=True
        )
    ]
    if same != pad.constant()[1:3]:
        return writing.emit(operation)
    inputs = (source, *operation.inputs[1:])
    return writing.emit(replace(operation, inputs=inputs, padding="SAME"))


def _folded(operation: Operation, writing: Rewriting) -> Tensor:
    if not isinstance(operation, Conv2D) or operation.stride[1] == 1:
        return writing.emit(operation)
    x, weight, bias = operation.inputs
    pad = _padding_of(x, writing)
    outputs, rows, columns, channels = weight.shape
    if pad is None or channels > _FEW_CHANNELS:
        return writing.emit(operation)
    source, ((top, _), (left, _)) = pad.inputs[0], pad.constant()[1:3]
    _, height, width, _ = source.shape
    down, across = operation.stride
    taps = -(-columns // across)
    cells = (x.shape[2] - columns) // across + taps
    read = ((x.shape[1] - rows) // down) * down + rows
    bottom, right = read - height - top, cells * across - width - left
    if bottom < 0 or right < 0:
        return writing.emit(operation)
    name, cell = operation.name, across * channels
    padded = pad_map(writing, source, ((top, bottom), (left, right)), name=f"{name}/folded")
    folded = reshape(writing, padded, (1, read, cells, cell), name=f"{name}/cells")
    stored = present(weight.data, f"the weights of {name}")
    wide = np.zeros((outputs, rows, taps * across, channels), stored.dtype)
    wide[:, :, :columns] = stored
    wide = wide.reshape(outputs, rows, taps, cell)
    kernel = replace(weight, shape=wide.shape, data=wide)
    return writing.emit(replace(operation, inputs=(folded, kernel, bias), stride=(down, 1)))


def _by_rows(operation: Operation, writing: Rewriting) -> Tensor:
    if not isinstance(operation, Pad) or len(operation.output.shape) != 4:
        return writing.emit(operation)
    x, amounts, *value = operation.inputs
    _, height, width, channels = x.shape
    name, shape = operation.name, operation.output.shape
    rows = reshape(writing, x, (1, height, width * channels), name=f"{name}/rows")
    _, above, beside, _ = operation.constant()
    table = np.array([(0, 0), above, [channels * side for side in beside]], np.int32)
    constant = replace(amounts, shape=table.shape, data=table)
    padded = writing.emit(
        replace(operation, inputs=(rows, constant, *value), name=f"{name}/rows/padded")
    )
    return reshape(writing, padded, shape, name=name)


def _padding_of(x: Tensor, writing: Rewriting) -> Pad | None:
    """Return what pads a map with zeros, if something does."""
    pad = writing.made.get(x.name)
    return pad if isinstance(pad, Pad) and not isinstance(pad, PadV2) else None
