"""Linear attention, eq. 8-10: sigmoid on Q and K, softmax over tokens on V, (KᵀV) first."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlvit_edge.model.configs import SoftmaxForm
from qlvit_edge.model.dynamic_conv import softmax


class LinearAttention(nn.Module):
    """``sigmoid(Q) (sigmoid(K)ᵀ softmax(V)) / √d_k`` per head, then a projection.

    The query is pooled by a depthwise 3×3 convolution shared between heads (as in MViTv2),
    with stride 2 where a stage begins; the pooled query is added to the attention's output
    (residual pooling connection).
    """

    def __init__(
        self, width_in: int, width_out: int, heads: int, stride: int, softmax_form: SoftmaxForm
    ) -> None:
        super().__init__()
        self.softmax_form: SoftmaxForm = softmax_form
        self.heads = heads
        self.head_width = width_out // heads
        self.query = nn.Conv2d(width_in, width_out, 1)
        self.key = nn.Conv2d(width_in, width_out, 1)
        self.value = nn.Conv2d(width_in, width_out, 1)
        self.pool = nn.Conv2d(
            self.head_width, self.head_width, 3, stride, 1, groups=self.head_width, bias=False
        )
        self.pool_norm = nn.BatchNorm2d(self.head_width)
        self.project = nn.Conv2d(width_out, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        batch = x.shape[0]
        query = self.query(x)
        query = query.reshape(-1, self.head_width, *query.shape[2:])
        query = self.pool_norm(self.pool(query))
        height, width = query.shape[2:]
        q = query.reshape(batch, self.heads, self.head_width, -1)
        k = self.key(x).reshape(batch, self.heads, self.head_width, -1)
        v = self.value(x).reshape(batch, self.heads, self.head_width, -1)
        # (B, heads, d, tokens): tokens are the last axis here, so softmax runs along it.
        key_value = torch.sigmoid(k) @ softmax(v, 3, self.softmax_form).transpose(2, 3)
        attended = key_value.transpose(2, 3) @ torch.sigmoid(q) / math.sqrt(self.head_width)
        out: Tensor = self.project((attended + q).reshape(batch, -1, height, width))
        return out
