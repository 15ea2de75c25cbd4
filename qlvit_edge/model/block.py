"""The block: norm → convolution → Qact → 1×1 → attention, then a KAN or an MLP."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.kan import KAN
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.mlp import MLP
from qlvit_edge.model.norms import make_norm
from qlvit_edge.model.pooling_attention import PoolingAttention
from qlvit_edge.model.quantisers import QAct


class CLABlock(nn.Module):
    """Conv-Linear-Attention block (section 3.2), and what it was before each step of Table 3.

    The first block of a stage doubles the channels inside the attention, with a projected
    skip, and halves the map, with a max-pooled skip (as MViTv2 does).

    Attributes:
        convolution: V0's depthwise 3×3.
        dynamic: what V1 to V4 have in its place.
        activation: behind either.
        mapping: 1×1, behind that; MViTv2 has none of these four.
        attention: pooling attention, or the linear one of V3 and V4.
        mlp: the second half up to V3.
        kan: the second half of V4.
    """

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
        super().__init__()
        parts = config.parts
        # pad → norm → valid convolution: the norm's affine part then folds exactly on the
        # device, and with BatchNorm all of it.
        self.norm = make_norm(config.norm, width_in)
        self.convolution: nn.Conv2d | None = None
        self.dynamic: DynamicConv | None = None
        if parts.convolution == "depthwise":
            self.convolution = nn.Conv2d(width_in, width_in, 3, groups=width_in)
        elif parts.convolution == "dynamic":
            self.dynamic = DynamicConv(width_in, config.dynamic_kernels, config.softmax)
        mapped = parts.convolution != "none"
        self.activation = QAct(config) if mapped else None
        self.mapping = nn.Conv2d(width_in, width_in, 1) if mapped else None
        self.attention = (
            LinearAttention(width_in, width_out, heads, stride, kv_stride, config)
            if parts.attention == "linear"
            else PoolingAttention(width_in, width_out, heads, stride, kv_stride, config, map_size)
        )
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None
        self.skip_pool = nn.MaxPool2d(3, 2, 1) if stride == 2 else None
        self.kan = KAN(width_out, config) if parts.channel_mixer == "kan" else None
        self.mlp = MLP(width_out, config) if parts.channel_mixer == "mlp" else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        padded = self.norm(nn.functional.pad(x, (1, 1, 1, 1)))
        attended = self.attention(self.mapped(padded))
        if self.skip is not None:
            x = self.skip(padded[:, :, 1:-1, 1:-1])
        if self.skip_pool is not None:
            x = self.skip_pool(x)
        x = x + attended
        if self.mlp is not None:
            x = x + self.mlp(x)
        if self.kan is not None:
            x = x + self.kan(x)
        return x

    def mapped(self, padded: Tensor) -> Tensor:
        """Map the padded map (B, C, H+2, W+2) to what Q, K and V are made of, (B, C, H, W)."""
        local = self.convolution if self.dynamic is None else self.dynamic
        if local is None or self.activation is None or self.mapping is None:
            return padded[:, :, 1:-1, 1:-1]
        out: Tensor = self.mapping(self.activation(local(padded)))
        return out
