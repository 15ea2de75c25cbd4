"""More than the head trained on a few labelled cells, in varied views, beside unlabelled ones.

Labelled cells are drawn each class as often as the others; where there are unlabelled ones, half as
many stand beside them, with what the network so far answers to them and their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.adaptation.head import class_shares
from qlvit_edge.adaptation.optimise import Batch, Schedule, optimised
from qlvit_edge.adaptation.self_training import Varied, drawing_chances, pseudo_labels
from qlvit_edge.data.loader import CachedImage
from qlvit_edge.model.qlvit import QLViT

BATCH: Final = 32
"""Labelled cells in a step."""

BESIDE: Final = 16
"""Unlabelled ones beside them."""

STEPS: Final = 160
RATE: Final = 1e-3
SMOOTHING: Final = 0.05
"""Share of a label that is spread over all classes."""


def fine_tuned(
    network: QLViT,
    cells: Sequence[CachedImage],
    labels: NDArray[np.int64],
    unlabelled: Sequence[CachedImage],
    unlabelled_views: NDArray[np.uint8],
    seed: int,
    advance: Callable[[], None],
) -> QLViT:
    """Return a copy of a network trained on labelled cells.

    Args:
        network: where training begins, its head fitted; it is not changed.
        cells: the labelled cells.
        labels: their classes (N,).
        unlabelled: other cells of the same microscope.
        unlabelled_views: of these, (V, M, h, w, channels).
        seed: of everything random.
        advance: called once per step, `STEPS` times.
    """
    classes = network.config.classes
    wanted = np.full((len(cells), classes), SMOOTHING / classes)
    wanted[np.arange(len(cells)), labels] += 1 - SMOOTHING
    targets, chances = torch.from_numpy(wanted).float(), class_shares(labels)
    varied = Varied(cells, network)
    others = Varied(unlabelled, network)
    taught = pseudo_labels(network, unlabelled_views)
    other_targets = torch.from_numpy(taught).float()
    other_chances = drawing_chances(taught)

    def batch(step: int) -> Batch:
        rng = np.random.default_rng([seed, step])
        drawn = rng.choice(len(cells), BATCH, p=chances)
        more = rng.choice(len(unlabelled), BESIDE, p=other_chances)
        return (
            np.concatenate([varied.views(drawn, rng), others.views(more, rng)]),
            torch.cat([targets[drawn], other_targets[more]]),
        )

    return optimised(network, batch, Schedule(STEPS, RATE), advance)
