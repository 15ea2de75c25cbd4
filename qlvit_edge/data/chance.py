"""Random numbers that belong to an image at a place of an epoch, and to nothing else.

Each is a hash of (seed, epoch, image, place, number of the draw): SplitMix64's finaliser (Steele,
Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) over each in turn. So
they are the same for any size of batch, number of threads or processes, and after any interruption,
and a batch's are computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Drawn:
    """The images of a batch, as an epoch drew them.

    Attributes:
        seed: of the run.
        epoch: from 0.
        images: (B,) int64, their indices.
        places: (B,) int64, where they stand in the epoch.
    """

    seed: int
    epoch: int
    images: NDArray[np.int64]
    places: NDArray[np.int64]

    def part(self, rank: int, of: int) -> Drawn:
        """Return what one of several processes takes of the batch; there may be nothing for it.

        Together they take every image once, in order, and an even number each (but the last), so
        that neighbours stay together: mixup mixes them.

        Args:
            rank: of the process, from 0.
            of: processes.
        """
        pairs = (len(self.images) + 1) // 2
        own = slice(2 * (pairs * rank // of), 2 * (pairs * (rank + 1) // of))
        return replace(self, images=self.images[own], places=self.places[own])

    def uniform(self, purpose: int, count: int) -> NDArray[np.float64]:
        """Return numbers (B, count), even in [0, 1).

        Args:
            purpose: what they are for; another one has other numbers.
            count: of numbers for each image.
        """
        state = np.full(len(self.images), purpose, np.uint64)
        for part in (np.uint64(self.seed), np.uint64(self.epoch), self.images, self.places):
            state = _mixed(state ^ np.asarray(part, np.uint64))
        draws = state[:, None] + _GOLDEN * np.arange(count, dtype=np.uint64)
        return np.asarray((_mixed(draws) >> np.uint64(11)) * 2.0**-53, np.float64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
