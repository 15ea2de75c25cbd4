"""A network taught by its own answers to the cells of another microscope, without labels.

Its answers to several views of a cell are averaged with those to the cells next to it in the space
of the features, and it is trained to give that answer to varied views of the cell (mean teachers
and neighbours: Litrico et al., Guiding pseudo-labels with uncertainty estimation for source-free
unsupervised domain adaptation, 2023). Cells are drawn against the frequency of their class, by a
power of it: blood is two thirds neutrophils, and a common class would otherwise swallow a rare one.
The head's linear layer stays as it is: it holds what the classes are (Liang et al., SHOT, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.adaptation.answers import answers, turned
from qlvit_edge.adaptation.optimise import Batch, Schedule, optimised
from qlvit_edge.data.loader import CachedImage, Standard
from qlvit_edge.data.looks import Looks
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import in_channels

BATCH: Final = 48
ROUNDS: Final = 3
"""Times that the answers are taken anew."""

STEPS: Final = 60
"""Steps between."""

RATE: Final = 5e-4
NEIGHBOURS: Final = 8
SHARPNESS: Final = 2.0
"""Power that answers are raised to before they teach."""

BALANCE: Final = 0.5
"""Power of a class's frequency that its cells are drawn against: 0 as they are, 1 all alike."""


LEAST_FREQUENCY: Final = 0.02
"""Classes rarer than this are drawn as if they were not: a few of their cells may be mistakes."""


def smoothed(
    probabilities: NDArray[np.float64], features: NDArray[np.float32], neighbours: int
) -> NDArray[np.float64]:
    """Average each cell's answer with those to its nearest cells.

    Args:
        probabilities: (N, classes).
        features: (N, width); nearest is by the angle between them, once centred.
        neighbours: how many, besides the cell itself; they weigh as much as the cell.
    """
    centred = features - features.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    count = min(neighbours, len(features) - 1)
    if count < 1:
        return probabilities
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return np.asarray((probabilities + probabilities[nearest].mean(1)) / 2)


def pseudo_labels(network: QLViT, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what each cell is to be answered with, (N, classes), from views (V, N, h, w, C)."""
    found = answers(network, turned(views))
    soft = smoothed(found.mean, found.features.mean(0), NEIGHBOURS)
    sharp = soft**SHARPNESS
    return np.asarray(sharp / sharp.sum(1, keepdims=True))


def drawing_chances(wanted: NDArray[np.float64], balance: float = BALANCE) -> NDArray[np.float64]:
    """Return each cell's chance (N,) to be drawn: sure ones oftener, common classes less often."""
    frequency = wanted.mean(0)
    by_class = np.maximum(frequency, LEAST_FREQUENCY) ** -balance
    chances = wanted.max(1) * by_class[wanted.argmax(1)]
    return np.asarray(chances / chances.sum())


def self_trained(
    network: QLViT,
    cells: Sequence[CachedImage],
    views: NDArray[np.uint8],
    seed: int,
    advance: Callable[[], None],
) -> QLViT:
    """Return a copy of a network that was taught by its own answers.

    Args:
        network: with statistics found on these cells; it is not changed.
        cells: the cells, to be varied.
        views: of the same cells, (V, N, h, w, channels) uint8, as they are on the device.
        seed: of everything random.
        advance: called once per step, `ROUNDS` times `STEPS`.
    """
    looks = Varied(cells, network)
    student = network
    for number in range(ROUNDS):
        wanted = pseudo_labels(student, views)
        targets = torch.from_numpy(wanted).float()
        chances = drawing_chances(wanted)

        def batch(
            step: int,
            number: int = number,
            chances: NDArray[np.float64] = chances,
            targets: torch.Tensor = targets,
        ) -> Batch:
            rng = np.random.default_rng([seed, number, step])
            drawn = rng.choice(len(cells), BATCH, p=chances)
            return looks.views(drawn, rng), targets[drawn]

        schedule = Schedule(STEPS, RATE, train_head=False)
        student = optimised(student, batch, schedule, advance)
    return student


class Varied:
    """Makes varied views of cells: half as their own microscope shows them, half as others do."""

    def __init__(self, cells: Sequence[CachedImage], network: QLViT) -> None:
        """Prepare ``cells`` for the input of ``network``."""
        self._own, self._other = Standard(cells), Looks(cells)
        self._size, self._channels = network.config.input_size, network.config.channels

    def views(self, drawn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return one view (B, h, w, channels) of each drawn cell."""
        return in_channels(
            np.stack(
                [
                    (self._own if rng.random() < 0.5 else self._other).view(
                        int(index), self._size, rng, vary_look=True
                    )
                    for index in drawn
                ]
            ),
            self._channels,
        )
