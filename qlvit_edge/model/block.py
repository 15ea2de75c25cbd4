"""The CLA block: norm → dynamic convolution → Qact → 1×1 → linear attention → KAN or MLP."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.kan import KAN
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.mlp import MLP
from qlvit_edge.model.norms import make_norm
from qlvit_edge.model.quantisers import QAct


class CLABlock(nn.Module):
    """Conv-Linear-Attention block (section 3.2).

    The first block of a stage doubles the channels inside the attention, with a projected
    skip, and halves the map, with a max-pooled skip (as MViTv2 does). V4 ends with the KAN,
    V3 with an MLP.
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
        # pad → norm → valid convolution: the norm's affine part then folds exactly on the
        # device, and with BatchNorm all of it.
        self.norm = make_norm(config.norm, width_in)
        self.dynamic = DynamicConv(width_in, config.dynamic_kernels, config.softmax)
        self.activation = QAct(config)
        self.mapping = nn.Conv2d(width_in, width_in, 1)
        self.attention = LinearAttention(width_in, width_out, heads, stride, kv_stride, config)
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None
        self.skip_pool = nn.MaxPool2d(3, 2, 1) if stride == 2 else None
        self.kan = KAN(width_out, config) if config.variant == "v4" else None
        self.mlp = MLP(width_out, config) if config.variant == "v3" else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        padded = self.norm(nn.functional.pad(x, (1, 1, 1, 1)))
        attended = self.attention(self.mapping(self.activation(self.dynamic(padded))))
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
