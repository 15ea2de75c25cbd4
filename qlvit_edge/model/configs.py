"""Network sizes as data: everything that decides a network's shape, and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.model.family import (
    CHANNELS,
    KAN_BASES,
    NORMS,
    SOFTMAXES,
    VARIANTS,
    Channels,
    KanBasis,
    NormKind,
    SoftmaxForm,
    Variant,
)
from qlvit_edge.text import did_you_mean


class NetworkConfig(BaseModel):
    """The shape of one QLViT network.

    Attributes:
        size: name of the size (`paper`, `tiny`, `nano`).
        variant: row of the paper's ablation table; V4 is the full network, V3 has an MLP
            where V4 has the KAN.
        input_size: (height, width) of the input image in pixels.
        channels: 3 for RGB, 1 for grey images.
        classes: number of classes.
        stem_kernel: side of the square large-kernel convolution in pixels.
        stem_stride: its stride in pixels.
        widths: channels of the four stages.
        depths: CLA blocks of the four stages.
        heads: attention heads of the four stages; each divides its width.
        kv_pool: stride by which the keys and values of the four stages are pooled; 1 for not.
        norm: BatchNorm, which folds away on the device, or LayerNorm over the channels.
        dynamic_kernels: K of eq. 1-5.
        mlp_ratio: hidden channels of V3's MLP over the width.
        kan_rank: width r of the KAN bottleneck d -> r -> d.
        kan_basis: order of the B-spline basis: piecewise linear (1) or cubic (3).
        kan_intervals: intervals of the shared grid.
        kan_range: the grid spans [-kan_range, kan_range] in normalised units.
        softmax: float, or the 4-bit log2 codes of eq. 6 with a straight-through gradient.
        activation_bits: b of the uniform activation quantiser, eq. 14-18.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str
    variant: Variant = VARIANTS[0]
    input_size: tuple[PositiveInt, PositiveInt]
    channels: Channels = CHANNELS[0]
    classes: PositiveInt = 4
    stem_kernel: PositiveInt = 7
    stem_stride: PositiveInt = 4
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    heads: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1, 2, 4, 8)
    kv_pool: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1, 1)
    norm: NormKind = NORMS[0]
    dynamic_kernels: PositiveInt = 4
    mlp_ratio: PositiveInt = 4
    kan_rank: PositiveInt = 8
    kan_basis: KanBasis = KAN_BASES[0]
    kan_intervals: PositiveInt = 6
    kan_range: float = 3.0
    softmax: SoftmaxForm = SOFTMAXES[0]
    activation_bits: Literal[8] = 8

    @model_validator(mode="after")
    def _shapes_fit(self) -> NetworkConfig:
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError("each stage's heads must divide its width")
        normed = [width // heads for width, heads in zip(self.widths, self.heads, strict=True)]
        normed += [self.kan_rank] if self.variant == "v4" else []
        if self.norm == "layer" and min(normed) < 2:
            raise ValueError("LayerNorm needs two channels or more, in a head and in a KAN's rank")
        height, width = self.input_size
        multiple = self.stem_stride * 8
        if height % multiple or width % multiple:
            raise ValueError(
                f"the input sides must be multiples of {multiple}, not {height}x{width}"
            )
        if self.kan_basis == "linear" and self.kan_intervals % 2:
            raise ValueError("the piecewise-linear basis needs a knot at zero: even intervals")
        return self


SIZES: dict[str, NetworkConfig] = {
    "paper": NetworkConfig(
        size="paper", input_size=(224, 224), widths=(96, 192, 384, 768), depths=(1, 2, 5, 2)
    ),
    "tiny": NetworkConfig(
        size="tiny", input_size=(128, 128), widths=(32, 64, 128, 256), depths=(1, 2, 3, 1)
    ),
    "nano": NetworkConfig(
        size="nano", input_size=(96, 96), widths=(24, 48, 96, 192), depths=(1, 1, 2, 1)
    ),
}


def size_config(size: str, **changes: object) -> NetworkConfig:
    """Return the configuration of a named size, with some fields changed.

    Raises:
        QLViTEdgeError: there is no such size, or it cannot be changed so.
    """
    if size not in SIZES:
        remedy = f"choose one of {', '.join(SIZES)}{did_you_mean(size, SIZES)}"
        raise QLViTEdgeError(size, "is not a network size", remedy)
    try:
        return NetworkConfig.model_validate({**SIZES[size].model_dump(), **changes})
    except ValidationError as error:
        finding = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        wanted = ", ".join(f"{name} {value}" for name, value in changes.items())
        raise QLViTEdgeError(
            f"network {size}", f"cannot be built: {finding}", f"change one of {wanted}"
        ) from error
