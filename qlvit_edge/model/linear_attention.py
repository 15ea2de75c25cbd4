"""Linear attention, eq. 8-10: sigmoid on Q and K, softmax over tokens on V, (KᵀV) first."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import softmax
from qlvit_edge.model.norms import make_norm


class LinearAttention(nn.Module):
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k`` per head, then a projection.

    The query is pooled by a depthwise 3×3 convolution shared between heads (as in MViTv2),
    with stride 2 where a stage begins; the pooled query is added to the attention's output
    (residual pooling connection). Keys and values are pooled likewise where `kv_stride` is
    above 1, and left alone otherwise.
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
        super().__init__()
        self.softmax_form = config.softmax
        self.heads = heads
        self.head_width = width_out // heads
        self.query = nn.Conv2d(width_in, width_out, 1)
        self.key = nn.Conv2d(width_in, width_out, 1)
        self.value = nn.Conv2d(width_in, width_out, 1)
        self.pool = self._pool(stride)
        self.pool_norm = make_norm(config.norm, self.head_width)
        self.kv_stride = kv_stride
        if kv_stride > 1:
            self.key_pool, self.value_pool = self._pool(kv_stride), self._pool(kv_stride)
            self.key_norm = make_norm(config.norm, self.head_width)
            self.value_norm = make_norm(config.norm, self.head_width)
        self.project = nn.Conv2d(width_out, width_out, 1)

    def _pool(self, stride: int) -> nn.Conv2d:
        width = self.head_width
        return nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        batch = x.shape[0]
        # (B·heads, d, H, W): heads share their pooling.
        query, key, value = (
            mapped.reshape(-1, self.head_width, *mapped.shape[2:])
            for mapped in (self.query(x), self.key(x), self.value(x))
        )
        query = self.pool_norm(self.pool(query))
        if self.kv_stride > 1:
            key = self.key_norm(self.key_pool(key))
            value = self.value_norm(self.value_pool(value))
        height, width = query.shape[2:]
        q, k, v = (
            pooled.reshape(batch, self.heads, self.head_width, -1) for pooled in (query, key, value)
        )
        # (B, heads, d, tokens): tokens are the last axis here, so softmax runs along it.
        key_value = torch.sigmoid(k) @ softmax(v, 3, self.softmax_form).transpose(2, 3)
        attended = key_value.transpose(2, 3) @ torch.sigmoid(q) / math.sqrt(self.head_width)
        out: Tensor = self.project((attended + q).reshape(batch, -1, height, width))
        return out
