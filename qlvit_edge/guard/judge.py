"""The verdict on one answer, from the model's int8 outputs and a few measures of its input.

Everything that is compared is an integer, or the quotient of two, so that the verdict is the same
on every device. The integers are held as float64, whose sums are exact below 2**53 in whatever
order a processor adds them: `qlvit_edge.modelfile.guard` bounds them by that.

Distances to known cells are those of Mahalanobis with a precision that all clusters share (Lee et
al. 2018, "A simple unified framework for detecting out-of-distribution samples"), with one cluster
per class, domain and view: of the image's appearance alone, which tells another microscope, and
of the features together with it, which tell another cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import VERDICTS, Verdict
from qlvit_edge.errors import ModelFileError
from qlvit_edge.fields.appearance import APPEARANCE
from qlvit_edge.fields.quality import QUALITY, image_measures, unfit
from qlvit_edge.modelfile.guard import Group, Guard
from qlvit_edge.modelfile.guard_tables import LARGEST, Space
from qlvit_edge.text import plain


@dataclass(frozen=True)
class Distances:
    """How far one cell lies from known ones; squared, in projected units.

    Attributes:
        image: of the image's appearance, to the nearest cluster.
        own: the same to the nearest cluster of the class that was answered; of a class without
            clusters, to the nearest of all.
        nearest: of features and appearance, to the nearest cluster.
        neighbours: the same to the n-th nearest prototype.
        group: index of the nearest cluster's group.
    """

    image: int
    own: int
    nearest: int
    neighbours: int
    group: int


@dataclass(frozen=True)
class Judgement:
    """What a guard makes of one answer.

    Attributes:
        verdict: the verdict.
        reason: why the answer is not accepted, in words; "" where it is.
        chances: probability of every class (classes,) float64, calibrated.
        distances: of the cell.
        measures: of the image, by name.
    """

    verdict: Verdict
    reason: str
    chances: NDArray[np.float64]
    distances: Distances
    measures: Mapping[str, int]

    @property
    def integers(self) -> list[int]:
        """All that decides, for golden pairs: place of the verdict, distances, group, chance.

        The chance is that of the answer in 2**-40, rounded down.
        """
        chance = int(float(self.chances.max()) * 2.0**40)
        return [VERDICTS.index(self.verdict), *astuple(self.distances), chance]


class Judge:
    """Judges the answers of one model file.

    Attributes:
        guard: the data.
        accept_at: smallest probability of an accepted answer.
    """

    def __init__(
        self, guard: Guard, accept_at: float | None = None, *, subject: object = "model"
    ) -> None:
        """Unpack a guard's tables.

        Args:
            guard: the data.
            accept_at: smallest probability of an accepted answer; None: the guard's own.
            subject: what an error calls the model.

        Raises:
            ModelFileError: the guard judges by a measure that this version does not make.
        """
        # Distances are sums of the measures of appearance, which are small enough to be exact.
        wanted = [(name, APPEARANCE) for name in guard.appearance]
        wanted += [(measure.name, (*APPEARANCE, *QUALITY)) for measure in guard.measures]
        for name, made in wanted:
            if name not in made:
                raise ModelFileError(
                    subject,
                    f"its guard wants {plain(name)!r} of an image, which this version does not "
                    "measure",
                    "use the version that made it, or convert it again",
                )
        self.guard = guard
        self.accept_at = guard.probability if accept_at is None else accept_at
        self._image = Places(guard.image, guard.image.means.array())
        known = np.concatenate((guard.cell.means.array(), guard.prototypes.array()))
        self._cell = Places(guard.cell, known)
        self._groups = [cluster.group for cluster in guard.clusters]
        self._powers = np.array(guard.powers, np.float64)
        labels = np.array([cluster.label for cluster in guard.clusters])
        self._of_label = {label: np.flatnonzero(labels == label) for label in set(labels.tolist())}

    def judge(
        self,
        logits: NDArray[np.int8],
        features: NDArray[np.int8],
        measures: Mapping[str, int],
    ) -> Judgement:
        """Judge one answer.

        Args:
            logits: (classes,) int8, the model's first output.
            features: (features,) int8, its second.
            measures: of the network's input, by name; all of the guard's `appearance`.
        """
        chances = self.chances(logits)
        best = int(logits.argmax())
        distances = self.distances(features, measures, best)
        verdict, reason = self._verdict(float(chances[best]), distances, measures)
        return Judgement(verdict, reason, chances, distances, measures)

    def judge_input(
        self, logits: NDArray[np.int8], features: NDArray[np.int8], pixels: NDArray[np.uint8]
    ) -> Judgement:
        """Judge one answer, measuring the network's input (h, w, channels) uint8 itself.

        Args:
            logits: the model's first output, int8 of any shape.
            features: its second.
            pixels: its input.
        """
        return self.judge(logits.reshape(-1), features.reshape(-1), image_measures(pixels))

    def chances(self, logits: NDArray[np.int8]) -> NDArray[np.float64]:
        """Return the calibrated probabilities (classes,) of int8 logits (classes,)."""
        powers = self._powers[int(logits.max()) - logits.astype(np.int64)]
        return np.asarray(powers / powers.sum(), np.float64)

    def distances(
        self, features: NDArray[np.int8], measures: Mapping[str, int], answer: int
    ) -> Distances:
        """Return how far a cell lies from known ones.

        Args:
            features: the model's second output.
            measures: see `judge`.
            answer: index of the class that the model answered.
        """
        look = np.array([measures[name] for name in self.guard.appearance], np.float64)
        in_image = self._image.distances(look)
        in_cell = self._cell.distances(np.concatenate((features, look)))
        clusters = len(self._groups)
        nearest = int(in_cell[:clusters].argmin())
        own = self._of_label.get(answer)
        rank = self.guard.neighbours - 1
        return Distances(
            image=int(in_image.min()),
            own=int((in_image if own is None else in_image[own]).min()),
            nearest=int(in_cell[nearest]),
            neighbours=int(np.partition(in_cell[clusters:], rank)[rank]),
            group=self._groups[nearest],
        )

    def trust(self, judgement: Judgement) -> float:
        """Return how far within its limits an answer is, in one number: accepted from 1 on.

        The smallest of limit by distance, for every distance, and of probability by the smallest
        that is accepted; 0 of an image that is not fit to be judged.
        """
        if judgement.verdict == "abstained":
            return 0.0
        distances, group = judgement.distances, self.group_of(judgement.distances)
        ratios = [float(judgement.chances.max()) / max(self.accept_at, 1e-9)]
        for name in ("image", "own", "nearest", "neighbours"):
            found, limit = getattr(distances, name), getattr(group, name)
            ratios.append((limit / found) ** 0.5 if found else float("inf"))
        return min(ratios)

    def group_of(self, distances: Distances) -> Group:
        """Return the known cells that are nearest."""
        return self.guard.groups[distances.group]

    def _verdict(
        self, probability: float, distances: Distances, measures: Mapping[str, int]
    ) -> tuple[Verdict, str]:
        group = self.group_of(distances)
        if finding := unfit(measures, self.guard.measures):
            return "abstained", finding
        if distances.image > group.image:
            return "foreign image", _farther("unlike known images", distances.image, group.image)
        if distances.own > group.own:
            return "unknown cell", _farther("unlike its class", distances.own, group.own)
        if distances.nearest > group.nearest:
            return "unknown cell", _farther("unlike known cells", distances.nearest, group.nearest)
        if distances.neighbours > group.neighbours:
            return "unknown cell", _farther(
                "without similar cells", distances.neighbours, group.neighbours
            )
        return verdict_on(probability, self.accept_at)


def verdict_on(probability: float, accept_at: float) -> tuple[Verdict, str]:
    """Return verdict and reason where nothing but the probability counts."""
    if probability >= accept_at:
        return "accepted", ""
    return "uncertain", f"not probable: {probability:.1%}, accepted from {accept_at:.1%}"


class Places:
    """A space's projection and places in it, as exact floats."""

    def __init__(self, space: Space, known: NDArray[np.int64]) -> None:
        """Unpack a space.

        Args:
            space: the projection.
            known: places (n, k) that distances are taken to.
        """
        # The step is a power of two: multiplying by it is exact, before the sum as after.
        self._projection = space.projection.array().astype(np.float64) * 0.5**space.shift
        self._known = -2.0 * known.astype(np.float64)
        self._lengths = (known.astype(np.float64) ** 2).sum(1)

    def distances(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squared distances (n,) of a vector of integers to the known places."""
        place = np.floor(self._projection @ vector)
        np.minimum(place, LARGEST, out=place)
        np.maximum(place, -LARGEST, out=place)
        squared = self._known @ place
        squared += self._lengths
        squared += place @ place
        return np.asarray(squared)


def _farther(what: str, squared: int, limit: int) -> str:
    """Say how far beyond a limit a squared distance is, as `unfit` says it: kind, then figures."""
    ratio = (squared / limit) ** 0.5 if limit else float("inf")
    return f"{what}: {ratio:.2f} times as far as the limit"
