"""QLViT: stem → CLA blocks over four scales → quantised head (Figure 1)."""

from __future__ import annotations

from torch import Tensor, nn

from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.family import NormKind
from qlvit_edge.model.norms import make_vector_norm
from qlvit_edge.model.quantisers import UniformQuantiser, quantised_weight
from qlvit_edge.model.stem import Stem


class QuantisedHead(nn.Module):
    """Global average → norm → linear layer with the uniform quantiser of section 3.3.

    Before V2 neither features nor weights are rounded; the quantiser keeps the range.
    """

    def __init__(
        self, width: int, classes: int, bits: int, norm: NormKind, quantised: bool = True
    ) -> None:
        super().__init__()
        self.norm = make_vector_norm(norm, width)
        self.quantised = quantised
        self.quantiser = UniformQuantiser(bits, quantised)
        self.linear = nn.Linear(width, classes)

    def weight(self) -> Tensor:
        """Return the linear layer's weight (classes, width) as the forward pass takes it."""
        return quantised_weight(self.linear.weight) if self.quantised else self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to logits (B, classes)."""
        features = self.quantiser(self.norm(x.mean((2, 3))))
        return nn.functional.linear(features, self.weight(), self.linear.bias)


class QLViT(nn.Module):
    """The network of the paper in the shape that ``config`` gives.

    Input: (B, channels, H, W) float, RGB or grey values 0…255. Output: logits (B, classes).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config.channels, config.widths[0], config.stem_kernel, config.stem_stride)
        blocks: list[CLABlock] = []
        width_in = config.widths[0]
        map_size = config.map_size
        for stage, (width, depth, heads, kv_stride) in enumerate(
            zip(config.widths, config.depths, config.heads, config.kv_pool, strict=True)
        ):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(CLABlock(width_in, width, heads, stride, kv_stride, config, map_size))
                width_in = width
                map_size = map_size[0] // stride, map_size[1] // stride
        self.blocks = nn.ModuleList(blocks)
        self.head = QuantisedHead(
            *(width_in, config.classes, config.activation_bits, config.norm),
            quantised=config.parts.quantised,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Classify images (B, channels, H, W), 0…255; returns logits (B, classes)."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits
