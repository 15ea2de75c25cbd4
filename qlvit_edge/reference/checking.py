"""Running a model on a reference set, and on the slide itself under a camera."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import Camera, Frame
from qlvit_edge.camera.calibrated import CalibratedCamera
from qlvit_edge.errors import CameraError, DataError
from qlvit_edge.fields.quality import image_measures
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.microscope.pipeline import ClassifiedCell, Pipeline
from qlvit_edge.microscope.placing import placed, tracker_for
from qlvit_edge.preprocess import decode
from qlvit_edge.reference.reference_set import ReferenceField, ReferenceSet, labels_in, located

MEASURES: Final = ("red", "green", "blue", "white level", "sharpness")
"""Of a picture: mean colours, the background's brightest channel (0 to 255), and `sharpness`
of `qlvit_edge.fields.quality`."""


@dataclass
class FieldsSeen:
    """What a model found in a reference set; see `qlvit_edge.reference.history.Record`.

    Attributes:
        accepted: compared cells whose answer the model's guard accepts.
        accepted_agreed: those of them that the model calls as people do.
        unknown: labels that the model does not have, with their cells.
    """

    labelled: int = 0
    located: int = 0
    compared: int = 0
    agreed: int = 0
    extra: int = 0
    accepted: int = 0
    accepted_agreed: int = 0
    answers: list[str | None] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SlideSeen:
    """What a model found on the slide under a camera.

    Attributes:
        camera: which one, without credentials.
        frames: that were looked at.
        counts: whole cells by the model's class; where the camera is live, each once.
        measures: medians over the frames.
    """

    camera: str
    frames: int
    counts: Counter[str]
    measures: dict[str, float]


def see_fields(
    classifier: Classifier,
    reference: ReferenceSet,
    advance: Callable[[], None] = lambda: None,
) -> FieldsSeen:
    """Find and classify the cells of every field, and hold them against the labels.

    Raises:
        DataError: a picture is damaged, a labelled cell lies outside it, or the model has none of
            the classes.
        DeviceError: the runtime failed.
    """
    classes = labels_in(reference, classifier.labels)
    pipeline = Pipeline(classifier)
    seen = FieldsSeen(labelled=reference.cells)
    measures = []
    for number, one in enumerate(reference.fields):
        image = decode(one.path)
        _require_inside(one, image)
        cells = pipeline.process(Frame(image, number, 0.0, one.path.name))
        _compare(seen, one, cells, classes)
        measures.append(measured(image))
        advance()
    seen.measures = medians(measures)
    return seen


def _compare(
    seen: FieldsSeen,
    one: ReferenceField,
    cells: Sequence[ClassifiedCell],
    classes: dict[str, str | None],
) -> None:
    places = located([cell.cell for cell in cells], one.cells)
    seen.extra += len(cells) - sum(place is not None for place in places)
    seen.counts.update(cell.classification.label for cell in cells if not cell.cell.cut)
    for wanted, place in zip(one.cells, places, strict=True):
        label = classes[wanted.label]
        if label is None:
            seen.unknown[wanted.label] += 1
        answer = None if place is None else cells[place].classification
        seen.answers.append(None if answer is None else answer.label)
        seen.located += answer is not None
        if answer is None or label is None:
            continue
        right, accepted = answer.label == label, answer.verdict == "accepted"
        seen.compared += 1
        seen.agreed += right
        seen.accepted += accepted
        seen.accepted_agreed += right and accepted


def see_slide(
    classifier: Classifier,
    camera: Camera,
    opened: Camera | CalibratedCamera,
    *,
    cells: int,
    most_frames: int,
    advance: Callable[[int], None] = lambda _: None,
) -> SlideSeen:
    """Look at frames of a camera until so many whole cells were found.

    Args:
        classifier: the model.
        camera: what gives the frames.
        opened: what is entered for it: the camera, or itself with its calibration.
        cells: whole cells that are enough; a live camera shows each again and again, and they are
            counted once.
        most_frames: frames after which it ends in any case.
        advance: is told how many cells there are.

    Raises:
        CameraError: it gave no frame.
        CameraStalledError: it stopped giving frames.
        DataError: a frame is grey, in which no white cells can be found.
    """
    pipeline = Pipeline(classifier, one_camera=True)
    tracker = tracker_for(camera, None, "cells")
    counts, measures = Counter[str](), []
    with opened:
        for frame in itertools.islice(opened.frames(), most_frames):
            found = pipeline.process(frame)
            measures.append(measured(frame.image))
            if tracker is None:
                counts.update(one.classification.label for one in found if not one.cell.cut)
            else:
                placed(tracker, frame, found)
                counts = Counter(tracker.count().labels)
            advance(counts.total())
            if counts.total() >= cells:
                break
        name = camera.identity or camera.name
    if not measures:
        raise CameraError(camera.name, "it gave no frame", "check the source")
    return SlideSeen(name, len(measures), counts, medians(measures))


def measured(image: NDArray[np.uint8]) -> dict[str, float]:
    """Return what `MEASURES` names of a picture (H, W, 3) uint8 RGB."""
    look = image_measures(image)
    means = image.reshape(-1, image.shape[2]).mean(axis=0)
    colours = dict(zip(("red", "green", "blue"), (float(mean) for mean in means), strict=True))
    return {**colours, "white level": float(look["light"]), "sharpness": float(look["sharpness"])}


def medians(measures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of every measure over some pictures, to three decimals."""
    return {name: round(statistics.median(one[name] for one in measures), 3) for name in MEASURES}


def homogeneity(first: Counter[str], second: Counter[str], replicates: int = 4999) -> float | None:
    """Return how likely two counts of one slide differ as much by chance; None below 5 cells.

    The chi-squared statistic of the two rows against its distribution when all cells are dealt out
    anew (both sums kept), so that no cell count is too small for it. The same counts give the same
    value.
    """
    labels = sorted({*first, *second})
    rows = np.array([[count[label] for label in labels] for count in (first, second)], np.int64)
    sums = rows.sum(axis=1)
    if sums.min() < 5:
        return None
    both = rows.sum(axis=0)
    expected = both * sums[0] / sums.sum()
    spread = expected * sums[1] / sums.sum()
    kept = spread > 0
    dealt = np.random.default_rng(0).multivariate_hypergeometric(both, sums[0], replicates)

    def statistic(row: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (((row - expected)[..., kept] ** 2) / spread[kept]).sum(
            axis=-1
        )
        return found

    beyond = int((statistic(dealt) >= statistic(rows[0]) - 1e-9).sum())
    return (1 + beyond) / (1 + replicates)


def _require_inside(one: ReferenceField, image: NDArray[np.uint8]) -> None:
    height, width = image.shape[:2]
    for cell in one.cells:
        x, y, across, down = cell.box
        if x + across > width or y + down > height:
            finding = (
                f"a labelled cell ({x},{y},{across},{down}) reaches beyond its {width}x{height}"
            )
            raise DataError(one.path, f"{finding} pixels", "correct cells.csv")
