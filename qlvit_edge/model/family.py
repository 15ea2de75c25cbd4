"""The choices that make the network family, listed once.

`configs` makes a network's shape of them, the command line offers them, benchmarks and tests try
them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

Variant = Literal["v4", "v3"]
NormKind = Literal["batch", "layer"]
KanBasis = Literal["linear", "cubic"]
SoftmaxForm = Literal["log2", "float"]
Channels = Literal[3, 1]

# The first of each is the default.
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)
NORMS: Final[tuple[NormKind, ...]] = get_args(NormKind)
KAN_BASES: Final[tuple[KanBasis, ...]] = get_args(KanBasis)
SOFTMAXES: Final[tuple[SoftmaxForm, ...]] = get_args(SoftmaxForm)
CHANNELS: Final[tuple[Channels, ...]] = get_args(Channels)

FAMILY: Final[Mapping[str, Mapping[str, object]]] = {
    "v4": {},
    "v3": {"variant": "v3"},
    "layer norm": {"norm": "layer"},
    "pooled keys": {"kv_pool": (2, 2, 1, 1)},
    "cubic": {"kan_basis": "cubic"},
    "grey": {"channels": 1},
}
"""The default network and those that differ from it in one choice, as changes of a
configuration (see :func:`qlvit_edge.model.configs.size_config`)."""
