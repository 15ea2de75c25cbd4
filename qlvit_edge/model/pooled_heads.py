"""Queries, keys and values of attention heads, pooled as in MViTv2."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.norms import make_norm


class PooledHeads(nn.Module):
    """The mapping to queries, keys and values, and their pooling; base of both attentions.

    Pooling is a depthwise 3×3 convolution and a norm, shared between heads. The query is always
    pooled, with stride 2 where a stage begins. Keys and values are pooled where `pools_keys`.

    Attributes:
        heads: number of heads.
        head_width: d_k, channels of a head.
        stride: of the query's pooling.
        kv_stride: of the keys' and values' pooling.
        pools_keys: whether keys and values are pooled (with any stride, 1 included).
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        heads: int,
        stride: int,
        kv_stride: int,
        config: NetworkConfig,
        *,
        pools_keys: bool,
    ) -> None:
        super().__init__()
        self.softmax_form = config.softmax
        self.heads = heads
        self.head_width = width_out // heads
        self.query = nn.Conv2d(width_in, width_out, 1)
        self.key = nn.Conv2d(width_in, width_out, 1)
        self.value = nn.Conv2d(width_in, width_out, 1)
        self.stride = stride
        self.pool = self._pool(stride)
        self.pool_norm = make_norm(config.norm, self.head_width)
        self.kv_stride = kv_stride
        self.pools_keys = pools_keys
        if pools_keys:
            self.key_pool, self.value_pool = self._pool(kv_stride), self._pool(kv_stride)
            self.key_norm = make_norm(config.norm, self.head_width)
            self.value_norm = make_norm(config.norm, self.head_width)
        self.project = nn.Conv2d(width_out, width_out, 1)

    def _pool(self, stride: int) -> nn.Conv2d:
        width = self.head_width
        return nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, C_in, H, W) to queries, keys and values, each (B·heads, d, H', W')."""
        query, key, value = (
            mapped.reshape(-1, self.head_width, *mapped.shape[2:])
            for mapped in (self.query(x), self.key(x), self.value(x))
        )
        query = self.pool_norm(self.pool(query))
        if self.pools_keys:
            key = self.key_norm(self.key_pool(key))
            value = self.value_norm(self.value_pool(value))
        return query, key, value

    def split(self, pooled: Tensor) -> Tensor:
        """Return (B·heads, d, H, W) as (B, heads, d, tokens)."""
        return pooled.reshape(-1, self.heads, self.head_width, pooled[0, 0].numel())
