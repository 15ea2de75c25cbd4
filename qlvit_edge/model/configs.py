"""Network sizes as data: everything that decides a network's shape, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.model.family import (
    CHANNELS,
    KAN_BASES,
    PARTS,
    VARIANTS,
    Channels,
    KanBasis,
    NormKind,
    Parts,
    SoftmaxForm,
    Variant,
)
from qlvit_edge.model.size_file import is_size_file, read_size
from qlvit_edge.text import did_you_mean

MAX_PARAMETERS = 10**9
"""A slip in a file is not to fill the memory; the paper's size has 25 million at most."""

MAX_SCORES = 2**28
"""Of one attention over keys and one image (1 GB in float32), for the same reason; the paper's size
has 1 229 312."""


def _whole(count: object) -> object:
    """Refuse `true` and 1.0, which a `Literal` takes for 1."""
    if type(count) is not int:
        raise ValueError(f"Input should be {' or '.join(map(str, CHANNELS))}")
    return count


Count = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=1, le=4096)]
Stages = tuple[Count, Count, Count, Count]

VARIANT_FIELDS = ("softmax", "norm", "kv_pool")
"""Fields that a variant decides where a configuration does not."""


class NetworkConfig(BaseModel):
    """The shape of one QLViT network.

    Attributes:
        size: name of the size (`paper`, `tiny`, `nano`, or a user's own).
        variant: row of the paper's ablation table; what it is made of is in
            `qlvit_edge.model.family.PARTS`. V4 is the full network.
        input_size: (height, width) of the input image in pixels.
        channels: 3 for RGB, 1 for grey images.
        classes: number of classes.
        stem_kernel: side of the square large-kernel convolution in pixels.
        stem_stride: its stride in pixels.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        heads: attention heads of the four stages; each divides its width.
        kv_pool: stride by which the keys and values of the four stages are pooled; 1 for not.
            If not given, the variant's.
        norm: BatchNorm, which folds away on the device, or LayerNorm over the channels. If not
            given, the variant's.
        dynamic_kernels: K of eq. 1-5.
        mlp_ratio: hidden channels of the MLP (up to V3) over the width.
        kan_rank: width r of the KAN bottleneck d -> r -> d.
        kan_basis: order of the B-spline basis: piecewise linear (1) or cubic (3).
        kan_intervals: intervals of the shared grid.
        kan_range: the grid spans [-kan_range, kan_range] in normalised units.
        softmax: float, or the 4-bit log2 codes of eq. 6 with a straight-through gradient. If
            not given, the variant's.
        activation_bits: b of the uniform activation quantiser, eq. 14-18.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str
    variant: Variant = VARIANTS[0]
    input_size: tuple[Width, Width]
    channels: Annotated[Channels, BeforeValidator(_whole)] = CHANNELS[0]
    classes: Width = 4
    stem_kernel: Count = 7
    stem_stride: Count = 4
    widths: tuple[Width, Width, Width, Width]
    depths: Stages
    heads: Stages = (1, 2, 4, 8)
    kv_pool: Stages
    norm: NormKind
    dynamic_kernels: Count = 4
    mlp_ratio: Count = 4
    kan_rank: Width = 8
    kan_basis: KanBasis = KAN_BASES[0]
    kan_intervals: Count = 6
    kan_range: Annotated[float, Field(ge=0.01, le=100)] = 3.0
    softmax: SoftmaxForm
    activation_bits: Literal[8] = 8

    @model_validator(mode="before")
    @classmethod
    def _as_the_variant_has_them(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        variant = given.get("variant")
        parts = PARTS[variant if variant in VARIANTS else VARIANTS[0]]
        return {**{name: getattr(parts, name) for name in VARIANT_FIELDS}, **given}

    @model_validator(mode="after")
    def _shapes_fit(self) -> NetworkConfig:
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError("each stage's heads must divide its width")
        normed = [width // heads for width, heads in zip(self.widths, self.heads, strict=True)]
        normed += [self.kan_rank] if self.variant == "v4" else []
        if self.norm == "layer" and min(normed) < 2:
            raise ValueError("LayerNorm needs two channels or more, in a head and in a KAN's rank")
        if self.stem_kernel % 2 == 0:
            raise ValueError(f"the stem's kernel has a centre: an odd side, not {self.stem_kernel}")
        height, width = self.input_size
        multiple = self.stem_stride * 8
        if height % multiple or width % multiple:
            raise ValueError(
                f"the input sides must be multiples of {multiple}, not {height}x{width}"
            )
        weights = sum(d * w * w for d, w in zip(self.depths, self.widths, strict=True))
        if weights * (6 + 2 * self.mlp_ratio) > MAX_PARAMETERS:
            raise ValueError("more than a thousand million parameters: fewer or narrower blocks")
        if self.parts.attention == "pooling" and self._scores() > MAX_SCORES:
            raise ValueError(
                "attention over more keys than memory is for: a smaller input, or keys pooled more"
            )
        if self.kan_basis == "linear" and self.kan_intervals % 2:
            raise ValueError("the piecewise-linear basis needs a knot at zero: even intervals")
        return self

    @property
    def parts(self) -> Parts:
        """What the variant is made of."""
        return PARTS[self.variant]

    def _scores(self) -> int:
        """Return how many products of queries and keys the largest attention makes."""
        height, width = self.map_size
        found = []
        for stage, (heads, pool) in enumerate(zip(self.heads, self.kv_pool, strict=True)):
            # The first block of a later stage has the keys of the stage before it.
            before = max(stage - 1, 0)
            queries = (height >> stage) * (width >> stage)
            keys = -(-(height >> before) // pool) * -(-(width >> before) // pool)
            found.append(heads * queries * keys)
        return max(found)

    def own_fields(self) -> dict[str, Any]:
        """Return the fields without those that are as the variant has them.

        So a size stays what it is in another variant, which has others.
        """
        decided = {
            name for name in VARIANT_FIELDS if getattr(self, name) == getattr(self.parts, name)
        }
        return self.model_dump(exclude=decided)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the map that the stem makes."""
        height, width = self.input_size
        return height // self.stem_stride, width // self.stem_stride


def _named(size: str, **fields: object) -> NetworkConfig:
    return NetworkConfig.model_validate({"size": size, **fields})


SIZES: dict[str, NetworkConfig] = {
    "paper": _named(
        "paper", input_size=(224, 224), widths=(96, 192, 384, 768), depths=(1, 2, 5, 2)
    ),
    "tiny": _named("tiny", input_size=(128, 128), widths=(32, 64, 128, 256), depths=(1, 2, 3, 1)),
    "nano": _named("nano", input_size=(96, 96), widths=(24, 48, 96, 192), depths=(1, 1, 2, 1)),
}
"""The named sizes, as V4."""


def size_config(size: str, **changes: object) -> NetworkConfig:
    """Return the configuration of a size, with some fields changed.

    Args:
        size: a name of `SIZES`, or a TOML file (see `qlvit_edge.model.size_file`).
        changes: fields of the configuration.

    Raises:
        QLViTEdgeError: there is no such size, its file is wrong, or it cannot be changed so.
    """
    if is_size_file(size):
        name, fields = read_size(Path(size), SIZES, NetworkConfig)
    elif size in SIZES:
        name, fields = size, SIZES[size].own_fields()
    else:
        remedy = f"choose one of {', '.join(SIZES)}{did_you_mean(size, SIZES)}, or name a TOML file"
        raise QLViTEdgeError(size, "is not a network size", remedy)
    try:
        return NetworkConfig.model_validate({**fields, "size": name, **changes})
    except ValidationError as error:
        finding = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        wanted = ", ".join(f"{name} {value}" for name, value in changes.items())
        raise QLViTEdgeError(
            f"network {name}", f"cannot be built: {finding}", f"change one of {wanted}"
        ) from error
