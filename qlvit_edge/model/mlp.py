"""V3's MLP, which stands where V4 has the KAN."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.norms import make_norm
from qlvit_edge.model.quantisers import QAct


class MLP(nn.Module):
    """Norm → 1×1 (d → ratio·d) → Qact → 1×1 (ratio·d → d), at every position."""

    def __init__(self, width: int, config: NetworkConfig) -> None:
        super().__init__()
        hidden = config.mlp_ratio * width
        self.norm = make_norm(config.norm, width)
        self.expand = nn.Conv2d(width, hidden, 1)
        self.activation = QAct(config)
        self.reduce = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = self.reduce(self.activation(self.expand(self.norm(x))))
        return out
