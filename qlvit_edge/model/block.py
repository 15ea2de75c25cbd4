"""The CLA block: norm → dynamic convolution → Qact → 1×1 → linear attention → KAN."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.kan import KAN
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.quantisers import UniformQuantiser


class QAct(nn.Module):
    """Qact: Hardswish followed by the uniform activation quantiser (section 3.2)."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.quantiser = UniformQuantiser(bits)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to a tensor of any shape."""
        out: Tensor = self.quantiser(nn.functional.hardswish(x))
        return out


class CLABlock(nn.Module):
    """Conv-Linear-Attention block (section 3.2).

    The first block of a stage doubles the channels inside the attention, with a projected
    skip, and halves the map, with a max-pooled skip (as MViTv2 does).
    """

    def __init__(
        self, width_in: int, width_out: int, heads: int, stride: int, config: NetworkConfig
    ) -> None:
        super().__init__()
        # pad → norm → valid convolution: BatchNorm then folds exactly on the device.
        self.norm = nn.BatchNorm2d(width_in)
        self.dynamic = DynamicConv(width_in, config.dynamic_kernels, config.softmax)
        self.activation = QAct(config.activation_bits)
        self.mapping = nn.Conv2d(width_in, width_in, 1)
        self.attention = LinearAttention(width_in, width_out, heads, stride, config.softmax)
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None
        self.skip_pool = nn.MaxPool2d(3, 2, 1) if stride == 2 else None
        self.kan = KAN(width_out, config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        padded = self.norm(nn.functional.pad(x, (1, 1, 1, 1)))
        attended = self.attention(self.mapping(self.activation(self.dynamic(padded))))
        if self.skip is not None:
            x = self.skip(padded[:, :, 1:-1, 1:-1])
        if self.skip_pool is not None:
            x = self.skip_pool(x)
        x = x + attended
        out: Tensor = x + self.kan(x)
        return out
