"""Networks of our family as members of a contest: named in one line, built anew for each run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.model.configs import NetworkConfig, size_config
from qlvit_edge.model.qlvit import QLViT

RATE = 2e-3
"""Peak learning rate, unless a member has its own."""

LAYER_NORM_RATE = 1e-3
"""Peak rate of the networks with LayerNorm and without BatchNorm, which learn worse at 2e-3."""


@dataclass(frozen=True)
class Member:
    """A network that takes part.

    Attributes:
        name: as tables show it.
        make: builds it with random weights; it takes (B, 3, side, side), values 0…255, and
            gives logits (B, classes).
        rate: peak learning rate.
        config: of a network of ours; None: a peer.
    """

    name: str
    make: Callable[[], nn.Module]
    rate: float = RATE
    config: NetworkConfig | None = None

    @property
    def key(self) -> str:
        """Its name as part of a file's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")


def ours(text: str, side: int, classes: int) -> Member:
    """Return a network of our family.

    Args:
        text: a size, then changes of its configuration: ``nano variant=v3 kv_pool=2,2,1,1``.
        side: of its square input, in pixels.
        classes: of its output.

    Raises:
        QLViTEdgeError: there is no such size, or it cannot be changed so.
    """
    size, *words = text.split()
    changes: dict[str, Any] = {"input_size": (side, side), "classes": classes}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in NetworkConfig.model_fields:
            known = ", ".join(NetworkConfig.model_fields)
            raise QLViTEdgeError(
                word, "is no change of a network", f"NAME=VALUE with one of {known}"
            )
        changes[name] = value.split(",") if "," in value else value
    config = size_config(size, **changes)
    shown = [f"QLViT {size} {config.variant}"]
    shown += [word for word in words if not word.startswith("variant=")]
    rate = RATE if config.norm == "batch" else LAYER_NORM_RATE
    return Member(" ".join(shown), lambda: QLViT(config), rate, config)
