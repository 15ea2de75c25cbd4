"""Linear attention, eq. 8-10: sigmoid on Q and K, softmax over tokens on V, (KᵀV) first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import softmax
from qlvit_edge.model.pooled_heads import PooledHeads


class LinearAttention(PooledHeads):
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k`` per head, then a projection.

    The pooled query is added to the attention's output (residual pooling connection). Keys and
    values are pooled where `kv_stride` is above 1, and left alone otherwise.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        heads: int,
        stride: int,
        kv_stride: int,
        config: NetworkConfig,
    ) -> None:
        super().__init__(
            *(width_in, width_out, heads, stride, kv_stride, config), pools_keys=kv_stride > 1
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        query, key, value = self.pooled(x)
        height, width = query.shape[2:]
        q, k, v = (self.split(pooled) for pooled in (query, key, value))
        # (B, heads, d, tokens): tokens are the last axis here, so softmax runs along it.
        key_value = torch.sigmoid(k) @ softmax(v, 3, self.softmax_form).transpose(2, 3)
        attended = key_value.transpose(2, 3) @ torch.sigmoid(q) / math.sqrt(self.head_width)
        out: Tensor = self.project((attended + q).reshape(x.shape[0], -1, height, width))
        return out
