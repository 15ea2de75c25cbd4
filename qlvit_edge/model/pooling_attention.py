"""Pooling attention of MViTv2, eq. 7 with decomposed relative positions (Li et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import softmax
from qlvit_edge.model.pooled_heads import PooledHeads


class PoolingAttention(PooledHeads):
    """``softmax(Q Kᵀ / √d_k + E) V`` per head over pooled tokens, then a projection.

    ``E[i, j] = q_i · R_h[row(i) - row(j)] + q_i · R_w[column(i) - column(j)]``: the query against
    one table of relative positions per axis, shared between heads; distances are in steps of the
    finer of the two maps. The pooled query is added to the attention's output (residual pooling
    connection).

    Attributes:
        rel_pos_h: (2·max(H_q, H_k) - 1, d_k), R_h.
        rel_pos_w: (2·max(W_q, W_k) - 1, d_k), R_w.
        rows: (H_q, H_k) int64, which entry of `rel_pos_h` a pair of rows reads.
        columns: (W_q, W_k) int64, likewise.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        width_in: int,
        width_out: int,
        heads: int,
        stride: int,
        kv_stride: int,
        config: NetworkConfig,
        map_size: tuple[int, int],
    ) -> None:
        super().__init__(*(width_in, width_out, heads, stride, kv_stride, config), pools_keys=True)
        queries, keys = ([pooled_side(side, by) for side in map_size] for by in (stride, kv_stride))
        for axis, q, k, positions in zip("hw", queries, keys, ("rows", "columns"), strict=True):
            table = nn.Parameter(torch.empty(2 * max(q, k) - 1, self.head_width))
            nn.init.trunc_normal_(table, std=0.02)
            self.register_parameter(f"rel_pos_{axis}", table)
            self.register_buffer(positions, relative_positions(q, k), persistent=False)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Return the tables by pairs of rows (H_q, H_k, d) and of columns (W_q, W_k, d)."""
        tables = self.get_parameter("rel_pos_h"), self.get_parameter("rel_pos_w")
        return tables[0][self.rows], tables[1][self.columns]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W), of the size it was made for, to (B, C_out, H/stride, W/stride)."""
        query, key, value = self.pooled(x)
        height, width = query.shape[2:]
        q, k, v = (self.split(pooled) for pooled in (query, key, value))  # (B, heads, d, tokens)
        scores = (q / math.sqrt(self.head_width)).transpose(2, 3) @ k  # (B, heads, tokens, keys)
        by_row, by_column = self.positions()
        placed = q.reshape(*q.shape[:3], height, width)
        rel_h = torch.einsum("bnchw,hkc->bnhwk", placed, by_row)
        rel_w = torch.einsum("bnchw,wkc->bnhwk", placed, by_column)
        bias = (rel_h[..., None] + rel_w[..., None, :]).reshape(scores.shape)
        probabilities = softmax(scores + bias, 3, self.softmax_form)
        attended = v @ probabilities.transpose(2, 3)
        out: Tensor = self.project((attended + q).reshape(x.shape[0], -1, height, width))
        return out


def pooled_side(side: int, stride: int) -> int:
    """Return the side of a map after a 3×3 convolution with padding 1 and this stride."""
    return (side - 1) // stride + 1


def relative_positions(queries: int, keys: int) -> Tensor:
    """Return which entry of a table of relative positions each pair reads, (queries, keys) int64.

    Distances are counted in steps of the finer of the two grids. Entries are numbered as in the
    original network: the first is that of the first query and the last key.
    """
    finer = max(queries, keys)
    q = torch.arange(queries)[:, None] * finer // queries
    k = torch.arange(keys)[None, :] * finer // keys
    return q - k + k[0, -1]
