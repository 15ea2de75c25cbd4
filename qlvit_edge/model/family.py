"""The choices that make the network family, listed once.

`configs` makes a network's shape of them, the command line offers them, benchmarks and tests try
them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

Variant = Literal["v4", "v3", "v2", "v1", "v0", "mvitv2"]
NormKind = Literal["batch", "layer"]
KanBasis = Literal["linear", "cubic"]
SoftmaxForm = Literal["log2", "float"]
Channels = Literal[3, 1]
Strides = tuple[int, int, int, int]

# The first of each is the default.
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)
NORMS: Final[tuple[NormKind, ...]] = get_args(NormKind)
KAN_BASES: Final[tuple[KanBasis, ...]] = get_args(KanBasis)
SOFTMAXES: Final[tuple[SoftmaxForm, ...]] = get_args(SoftmaxForm)
CHANNELS: Final[tuple[Channels, ...]] = get_args(Channels)


@dataclass(frozen=True)
class Parts:
    """What a variant of the network is made of: a row of the paper's ablation (Table 3).

    Attributes:
        convolution: before the mapping to queries, keys and values: none, a depthwise 3×3 one
            or a dynamic one, followed by an activation and a 1×1 convolution.
        attention: pooling attention with relative positions, as in MViTv2, or linear attention.
        channel_mixer: the second half of a block.
        quantised: activations and the head's linear layer are rounded in the forward pass.
        softmax: its form in the forward pass, if a configuration names no other.
        norm: the norm layers, if a configuration names no others.
        kv_pool: stride of the keys' and values' pooling, by stage, if none is named.
    """

    convolution: Literal["none", "depthwise", "dynamic"]
    attention: Literal["pooling", "linear"]
    channel_mixer: Literal["mlp", "kan"]
    quantised: bool
    softmax: SoftmaxForm
    norm: NormKind
    kv_pool: Strides


_MVITV2 = Parts(
    convolution="none",
    attention="pooling",
    channel_mixer="mlp",
    quantised=False,
    softmax="float",
    norm="layer",
    kv_pool=(4, 2, 1, 1),
)
_V0 = replace(_MVITV2, convolution="depthwise")
_V1 = replace(_V0, convolution="dynamic", softmax="log2")
_V2 = replace(_V1, quantised=True)
_V3 = replace(_V2, attention="linear", kv_pool=(1, 1, 1, 1), norm="batch")
_V4 = replace(_V3, channel_mixer="kan")

PARTS: Final[Mapping[Variant, Parts]] = {
    "mvitv2": _MVITV2,
    "v0": _V0,
    "v1": _V1,
    "v2": _V2,
    "v3": _V3,
    "v4": _V4,
}
"""The variants in the order of the ablation: each line above is one step of it."""


def title(variant: Variant) -> str:
    """Return a variant's name as the paper writes it."""
    return "MViTv2" if variant == "mvitv2" else f"QLViT {variant.upper()}"


FAMILY: Final[Mapping[str, Mapping[str, object]]] = {
    "v4": {},
    "v3": {"variant": "v3"},
    "v2": {"variant": "v2"},
    "v1": {"variant": "v1"},
    "v0": {"variant": "v0"},
    "mvitv2": {"variant": "mvitv2"},
    "layer norm": {"norm": "layer"},
    "pooled keys": {"kv_pool": (2, 2, 1, 1)},
    "cubic": {"kan_basis": "cubic"},
    "grey": {"channels": 1},
}
"""The default network and those that differ from it in one choice, as changes of a
configuration (see :func:`qlvit_edge.model.configs.size_config`)."""
