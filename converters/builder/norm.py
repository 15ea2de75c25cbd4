"""LayerNorm over the channels of each position."""

from __future__ import annotations

from abc import abstractmethod

from qlvit_edge.converters.builder.base import BaseBuilder
from qlvit_edge.converters.graph import Tensor


class NormBuilder(BaseBuilder):
    """Statistics of each position, and what is left without them."""

    @abstractmethod
    def standardise(self, x: Tensor, epsilon: float, *, name: str) -> Tensor:
        """Bring the last axis to mean 0 and variance 1: ``(x - mean) / √(var + epsilon)``.

        The gain and offset of the norm are left to what follows. Channels that are all equal,
        as padding is, become 0.

        Args:
            x: (1, …, C).
            epsilon: real, added to the variance.
            name: of the result, (1, …, C).
        """
