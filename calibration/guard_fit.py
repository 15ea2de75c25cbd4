"""A guard from answers: where known cells lie, how sure is sure, and where both end.

Where they lie is learnt from the cells that the network was trained with. Their features are
tighter than those of any other cells, so every limit is set on sources that training did not
see, and the rate at which those are rejected is the one that is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.guard_answers import Answer
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.fields.appearance import APPEARANCE
from qlvit_edge.modelfile.guard import Cluster, View
from qlvit_edge.modelfile.guard_tables import LARGEST, MOST_COORDINATES, Space, Table

SHRINKAGE = 0.01
"""Share of the isotropic part in the shared covariance."""

UNIT = 256
"""Projected units of one standard deviation."""

MOST_PROTOTYPES = 256
LEAST_CELLS = 2
"""Cells of a class in a group without which it has no cluster there."""

_INT16 = 32767


_Key = tuple[int, tuple[str, View]]


@dataclass(frozen=True)
class Layout:
    """Where known cells lie.

    Attributes:
        groups: domain and view of every group.
        clusters: classes by group.
        image: the space of appearance.
        cell: the space of features and appearance.
        prototypes: int32 (n, k), in the latter.
    """

    groups: list[tuple[str, View]]
    clusters: list[Cluster]
    image: Space
    cell: Space
    prototypes: Table


def lay_out(training: Sequence[Answer]) -> Layout:
    """Find clusters, the directions in which they spread, and prototypes.

    Args:
        training: answers on cells that the network was trained with; those of unknown class
            are left out.
    """
    members: defaultdict[_Key, list[Answer]] = defaultdict(list)
    for answer in training:
        if answer.label != NO_CLASS:
            members[answer.label, (answer.domain, answer.view)].append(answer)
    held = {key: own for key, own in sorted(members.items()) if len(own) >= LEAST_CELLS}
    if not held:
        raise ValueError("no class has two cells")
    groups = sorted({group for _, group in held})
    looks = [
        np.array([[a.measures[name] for name in APPEARANCE] for a in own], np.float64)
        for own in held.values()
    ]
    features = [np.array([a.features for a in own], np.float64) for own in held.values()]
    joined = [np.concatenate(pair, axis=1) for pair in zip(features, looks, strict=True)]
    image, _ = _space(looks)
    cell, places = _space(joined)
    each = max(1, MOST_PROTOTYPES // len(places))
    prototypes = [own[evenly(len(own), each)] for own in places]
    return Layout(
        groups=groups,
        clusters=[
            Cluster(label=label, group=groups.index(group), cells=len(own))
            for (label, group), own in held.items()
        ],
        image=image,
        cell=cell,
        prototypes=Table.of(np.clip(np.concatenate(prototypes), -_INT16, _INT16).astype(np.int16)),
    )


def _space(clusters: Sequence[NDArray[np.float64]]) -> tuple[Space, list[NDArray[np.float64]]]:
    """Whiten clusters (cells, n); returns the space and every cluster's places (cells, k)."""
    projection, shift = _whiten(_covariance(clusters))
    places = [_project(projection, shift, own) for own in clusters]
    means = np.stack([np.rint(own.mean(0)) for own in places]).astype(np.int32)
    return Space(projection=Table.of(projection), shift=shift, means=Table.of(means)), places


def _covariance(clusters: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the covariance within clusters, each of the same weight, shrunk."""
    shared = np.mean([np.cov(own, rowvar=False) for own in clusters], axis=0)
    # What never varied gets a floor: the variance of rounding to whole steps.
    level = max(float(np.trace(shared)) / len(shared), 1 / 12)
    return np.asarray((1 - SHRINKAGE) * shared + SHRINKAGE * level * np.eye(len(shared)))


def _whiten(covariance: NDArray[np.float64]) -> tuple[NDArray[np.int16], int]:
    """Return integer rows onto whitened directions and the shift after them.

    The directions of the smallest spread come first; where there are more than the guard can
    hold, those of the largest are left out.
    """
    spread, directions = np.linalg.eigh(covariance)
    rows = (directions / np.sqrt(spread)).T[:MOST_COORDINATES]
    shift = 0
    while float(np.abs(rows).max()) * UNIT * 2 ** (shift + 1) <= _INT16:
        shift += 1
    scale = min(UNIT * 2.0**shift, _INT16 / float(np.abs(rows).max()))
    return np.rint(rows * scale).astype(np.int16), shift


def _project(
    projection: NDArray[np.int16], shift: int, features: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return places (N, k) of features (N, width), as `qlvit_edge.guard.judge.Places` does."""
    sums = features @ projection.T.astype(np.float64)
    return np.clip(np.floor(sums * 0.5**shift), -LARGEST, LARGEST)
