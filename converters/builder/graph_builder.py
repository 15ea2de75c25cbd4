"""Everything that lowering may say, with what each arithmetic must answer for itself."""

from __future__ import annotations

from abc import abstractmethod

from numpy.typing import ArrayLike

from qlvit_edge.converters.builder.arithmetic import ArithmeticBuilder
from qlvit_edge.converters.builder.base import Range
from qlvit_edge.converters.builder.kan import KanBuilder
from qlvit_edge.converters.builder.norm import NormBuilder
from qlvit_edge.converters.builder.probabilities import Log2Probabilities
from qlvit_edge.converters.graph import Tensor


class GraphBuilder(KanBuilder, ArithmeticBuilder, NormBuilder):
    """The words of lowering; see the package's text."""

    @abstractmethod
    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        """Take the image as RGB values 0…255, named ``"image"``; (1, H, W, channels)."""

    @abstractmethod
    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Apply ``x · min(max(x + 3, 0), 6) / 6``; only :meth:`conv` may read the result."""

    @abstractmethod
    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        """Apply the logistic function (eq. 9); its range is fixed."""

    @abstractmethod
    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        """Apply the softmax of eq. 6 along `axis` (not 0); its range is fixed."""

    @abstractmethod
    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """Return ``Σ_k p_k · (W_k * x + b_k)``, eq. 1-3, channel by channel; see :meth:`pad`.

        The maps ``W_k * x + b_k`` share one range, that of `name`/kernel0 and so on; the
        result is named `name`/mixed.

        Args:
            x: (1, H, W, C).
            probabilities: p, over the last axis of (1, 1, 1, K).
            weights: (K, kh, kw, C), real.
            biases: (K, C), real.
            name: begins the names of what is made.
        """
