"""Attention over keys: scores with decomposed relative positions, and weighted sums of values.

Queries and keys may both be negative. So keys, the right operand of their product, are made by a
convolution that clips at ±127 steps, and values likewise; see
:mod:`qlvit_edge.converters.safe_products`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.arithmetic import matmul, scale_by
from qlvit_edge.converters.idioms.constants import real, stored
from qlvit_edge.converters.idioms.convolutions import LARGEST_GAIN, depthwise, weights
from qlvit_edge.converters.idioms.layout import concatenate, map_to_heads, reshape, transpose
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.softmax import Probabilities
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.convolution import UNIT_QUANTISATION, DepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add
from qlvit_edge.converters.ops.matmul import BatchMatMul

Array = NDArray[np.float64]

_MOST_COPIES = 4  # of the terms of positions beside the queries
_STEPS = 127


@dataclass(frozen=True)
class Positions:
    """What the queries are multiplied by for every row and every column of keys, real.

    Attributes:
        rows: R_h, (H_q, H_k, d).
        columns: R_w, (W_q, W_k, d).
    """

    rows: Array
    columns: Array

    def of_keys(self) -> NDArray[np.bool_]:
        """Tell which row and which column each key is of: (H_k·W_k, H_k + W_k)."""
        rows, columns = self.rows.shape[1], self.columns.shape[1]
        row, column = np.eye(rows, dtype=bool), np.eye(columns, dtype=bool)
        return np.hstack([np.repeat(row, columns, 0), np.tile(column, (rows, 1))])


def right_operand(
    writer: Writer,
    x: Tensor,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    stride: int = 1,
    name: str,
    least: float = 0.0,
) -> Tensor:
    """Convolve every channel with its own kernel, for the right side of a product.

    Float: `depthwise`. Int8: with zero point 0, and never -128. The convolution makes shares of
    the largest magnitude that calibration saw, `name`/share, and RELU_N1_TO_1 clips them at ±127
    steps of 1/127; a MUL gives the same bytes their scale.

    Args:
        writer: takes the operations.
        x: (1, H, W, C).
        weight: (kh, kw, C), real.
        bias: (C,), real.
        stride: rows and columns.
        name: name of the result.
        least: magnitude that the result can hold at least.
    """
    match writer.numerics:
        case Float():
            return depthwise(writer, x, weight, bias, stride=stride, name=name)
        case Int8() as int8:
            kernel, offset = np.asarray(weight, np.float64)[None], np.asarray(bias, np.float64)
            seen = _STEPS * int8.activation(name, symmetric=True).scale[0]
            peak = max(seen, least, x.scale * float(np.abs(kernel).max()) / LARGEST_GAIN)
            share = f"{name}/share"
            convolution = DepthwiseConv2D(
                inputs=(x, *weights(writer, x, kernel / peak, offset / peak, 3, share)),
                name=share,
                quantisation=UNIT_QUANTISATION,
                stride=(stride, stride),
                activation="RELU_N1_TO_1",
            )
            return scale_by(writer, writer.emit(convolution), peak, name=name)


def least_key(writer: Writer, q: Tensor, positions: Positions, *, name: str) -> float:
    """Return the magnitude that keys must be able to hold for `placed_scores`, see there.

    Args:
        writer: says in which arithmetic.
        q: the queries.
        positions: R_h and R_w.
        name: of the scores.
    """
    match writer.numerics:
        case Float():
            return 0.0
        case Int8() as int8:
            return _needed(int8, q, positions, name) / _MOST_COPIES


def placed_scores(
    writer: Writer, q: Tensor, k: Tensor, positions: Positions, heads: int, *, name: str
) -> Tensor:
    """Return ``q_i · k_j + q_i · R_h[row(i), row(j)] + q_i · R_w[column(i), column(j)]``.

    The terms of positions are products of the queries with constants, a matrix for every row
    and every column of queries: `name`/rel_h and `name`/rel_w. They are put beside the channels of
    the queries, and meet keys that say in as many further channels which row and which column
    they are of. So all three are summed in the accumulators and rounded once.

    Int8: the terms have the queries' quantisation, holding the multiple of themselves that the
    steps of the keys' further channels undo. These have at most 127 steps of the keys' scale:
    where that is not enough, the terms are there up to four times, and keys have a larger scale
    where four times are not enough.

    Args:
        writer: takes the operations.
        q: (1, H_q, W_q, heads·d); in integers of zero point 0.
        k: (1, H_k, W_k, heads·d) of zero point 0, already divided by √d.
        positions: R_h and R_w.
        heads: of queries and keys.
        name: of the scores.

    Returns:
        (1, heads, H_q·W_q, H_k·W_k).
    """
    copies, steps = _copies_and_steps(writer, q, k, positions, name)
    told = steps * k.scale if k.quantisation else 1.0
    # In int8 what follows holds a multiple of what it is in float, and has names of its own.
    inside = f"{name}/raised" if k.quantisation else name
    by_row, by_column = (t / (copies * told) for t in (positions.rows, positions.columns))
    _, height, width, channels = q.shape
    shape = (1, height * width, heads)
    rows = _terms(writer, q, by_row, heads, f"{inside}/rel_h")
    rows = reshape(writer, rows, (*shape, by_row.shape[1]), name=f"{inside}/rows")
    turned = transpose(writer, q, (0, 2, 1, 3), name=f"{name}/turned")
    columns = _terms(writer, turned, by_column, heads, f"{inside}/rel_w")
    whole = (1, width, height, heads * by_column.shape[1])
    columns = reshape(writer, columns, whole, name=f"{inside}/columns/whole")
    columns = transpose(writer, columns, (0, 2, 1, 3), name=f"{inside}/columns/turned")
    columns = reshape(writer, columns, (*shape, by_column.shape[1]), name=f"{inside}/columns")
    plain = reshape(writer, q, (*shape, channels // heads), name=f"{name}/plain")
    beside = concatenate(writer, [plain, *[rows, columns] * copies], 3, name=f"{inside}/beside")
    left = _heads_first(writer, beside, f"{inside}/queries")
    keys = map_to_heads(writer, k, heads, name=f"{name}/plain_keys")
    told_by = np.tile(positions.of_keys(), (1, heads, 1, copies)) * steps
    places = (
        stored(f"{name}/places", told_by, k.quantisation)
        if k.quantisation
        else real(f"{name}/places", told_by)
    )
    right = concatenate(writer, [keys, places], 3, name=f"{inside}/keys")
    return matmul(writer, left, right, adjoint_b=True, name=name)


def weighted_sum(writer: Writer, probabilities: Probabilities, v: Tensor, *, name: str) -> Tensor:
    """Return ``p @ v``: (1, heads, M, N) by (1, heads, N, d); one product a part of `p`, added.

    Args:
        writer: takes the operations.
        probabilities: p.
        v: in integers of zero point 0.
        name: of the result.
    """
    if len(probabilities.parts) == 1:
        return matmul(writer, probabilities.parts[0], v, name=name)
    quantisation = writer.numerics.activation(name)
    products = [
        writer.emit(
            BatchMatMul(inputs=(part, v), name=f"{name}/{suffix}", quantisation=quantisation)
        )
        for part, suffix in zip(probabilities.parts, ("high", "low"), strict=True)
    ]
    return writer.emit(Add(inputs=tuple(products), name=name, quantisation=quantisation))


def _terms(writer: Writer, q: Tensor, table: Array, heads: int, name: str) -> Tensor:
    """Multiply queries by a matrix for every row of theirs.

    Args:
        writer: takes the operations.
        q: (1, A, B, heads·d).
        table: (A, K, d), real.
        heads: of `q`.
        name: of the product.

    Returns:
        (1, A, B·heads, K), with the quantisation of `q`.
    """
    _, rows, columns, channels = q.shape
    stacked = (1, rows, columns * heads, channels // heads)
    left = reshape(writer, q, stacked, name=f"{name}/queries")
    right = writer.numerics.matrices(table.transpose(0, 2, 1)[None], f"{name}/table")
    return writer.emit(BatchMatMul(inputs=(left, right), name=name, quantisation=q.quantisation))


def _heads_first(writer: Writer, x: Tensor, name: str) -> Tensor:
    """(1, tokens, heads, d) as (1, heads, tokens, d)."""
    if x.shape[2] == 1:
        return reshape(writer, x, (1, 1, x.shape[1], x.shape[3]), name=name)
    return transpose(writer, x, (0, 2, 1, 3), name=name)


def _needed(int8: Int8, q: Tensor, positions: Positions, name: str) -> float:
    """Return what a key's further channel must hold for the terms to fit the queries' range.

    And for the constants to fit their kernel, see `LARGEST_GAIN`.
    """
    ends = (*int8.scales.range(f"{name}/rel_h"), *int8.scales.range(f"{name}/rel_w"))
    constants = max(float(np.abs(t).max()) for t in (positions.rows, positions.columns))
    return max(max(map(abs, ends)) / q.scale, constants / LARGEST_GAIN) / _STEPS


def _copies_and_steps(
    writer: Writer, q: Tensor, k: Tensor, positions: Positions, name: str
) -> tuple[int, int]:
    """Return how often the terms are there, and how many steps a key's further channels hold."""
    match writer.numerics:
        case Float():
            return 1, 1
        case Int8() as int8:
            steps = math.ceil(_needed(int8, q, positions, name) / k.scale)
            copies = min(max(1, math.ceil(steps / _STEPS)), _MOST_COPIES)
            return copies, min(max(1, math.ceil(steps / copies)), _STEPS)
