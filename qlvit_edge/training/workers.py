"""The processes that train one network together, as the loop and the session see them.

`Workers` is a single process, for which every exchange is nothing at all; `ALONE` is the one
that everything uses unless it was started by `torchrun`. Several are a
`qlvit_edge.training.distributed.ProcessGroup`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

T = TypeVar("T")


class Workers:
    """One process: it leads, holds every batch whole and waits for nobody.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
    """

    rank = 0
    size = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which part of every batch is this process's: (its number, of how many)."""
        return self.rank, self.size

    def join(self, network: nn.Module) -> None:
        """Make a network the common one; all training of it goes through `network`."""

    def network(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return what gives logits of this process's part of a batch; call `share_of` next.

        Args:
            network: the one that was joined.
        """
        return network

    def share_of(self, loss: Tensor, mass: float) -> Tensor:
        """Return what to differentiate for the gradient of the mean over the whole batch.

        Args:
            loss: mean over this process's part.
            mass: what that mean was divided by: images, or the sum of their weights.
        """
        return loss

    def mean(self, value: float, mass: float) -> float:
        """Return the mean over the whole batch of what has this mean in a part of that mass."""
        return value

    def totals(self, *values: int) -> tuple[int, ...]:
        """Return the sums of some numbers over all processes."""
        return values

    def from_leader(self, work: Callable[[], T]) -> T:
        """Let the leader alone do something; all get what it returns."""
        return work()

    def gathered(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows of which each process has filled its own and left the others zero."""
        return rows


ALONE = Workers()
