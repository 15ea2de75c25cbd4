"""What a softmax answers with: powers of two, in however many tensors its form needs."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qlvit_edge.converters.builder.arithmetic import ArithmeticBuilder
from qlvit_edge.converters.builder.base import Range
from qlvit_edge.converters.graph import Tensor


class Log2Probabilities(ABC):
    """A softmax whose values are powers of two, in however many tensors its form needs."""

    @abstractmethod
    def matmul_left(
        self,
        a: Tensor,
        *,
        name: str,
        adjoint_a: bool = False,
        adjoint_p: bool = False,
        symmetric: bool = False,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Multiply: ``a @ p``, the probabilities being the right operand.

        Args:
            a: (1, heads, M, N), or (1, heads, N, M) with `adjoint_a`.
            name: name of the product.
            adjoint_a: transpose `a`'s last two dimensions first.
            adjoint_p: transpose the probabilities' last two dimensions first.
            symmetric: give the product zero point 0, as the right operand of a later
                product needs.
            fixed_range: range known without calibration.
        """

    @abstractmethod
    def joined(self) -> Tensor:
        """Return the probabilities as one tensor (1, 1, 1, K)."""


class SingleTensorProbabilities(Log2Probabilities):
    """Probabilities in one tensor: the float ones, and the `fast` form of the integers."""

    def __init__(self, builder: ArithmeticBuilder, tensor: Tensor) -> None:
        """Hold `tensor`, made by `builder`."""
        self._builder = builder
        self._tensor = tensor

    def matmul_left(
        self,
        a: Tensor,
        *,
        name: str,
        adjoint_a: bool = False,
        adjoint_p: bool = False,
        symmetric: bool = False,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """See the base class."""
        return self._builder.matmul(
            a,
            self._tensor,
            name=name,
            adjoint_a=adjoint_a,
            adjoint_b=adjoint_p,
            symmetric=symmetric,
            fixed_range=fixed_range,
        )

    def joined(self) -> Tensor:
        """Return the tensor."""
        return self._tensor
