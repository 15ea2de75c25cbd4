"""How a trained run does on its test images: figures, and what a page and JSON say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.labelled import LabelledImage
from qlvit_edge.evaluation import metrics
from qlvit_edge.evaluation.quality import Quality, measure_quality
from qlvit_edge.evaluation.temperature import best_temperature, probabilities
from qlvit_edge.presence import present

ViewName = Literal["whole_image", "cell_crop"]

VIEWS: dict[ViewName, str] = {"whole_image": "whole images", "cell_crop": "crops of their cells"}


@dataclass(frozen=True)
class Temperature:
    """By what logits are divided before they become probabilities.

    Attributes:
        value: it; 1 where none could be fitted.
        origin: what it was fitted on, or why there is none, in words.
        fitted: whether it was.
    """

    value: float = 1.0
    origin: str = ""
    fitted: bool = False


@dataclass(frozen=True)
class Outputs:
    """What a network gives for the test images in one view.

    Attributes:
        view: how they were shown.
        logits: (N, classes), real.
    """

    view: ViewName
    logits: NDArray[np.float64]


@dataclass(frozen=True)
class ViewReport:
    """How right the answers are when images are shown in one way.

    Attributes:
        view: how.
        quality: of the answers.
        reliability: share of right answers by probability.
        calibration_error: mean distance of the two, 0 to 1.
        error_before: the same without the temperature.
        probabilities: (N, classes) calibrated.
    """

    view: ViewName
    quality: Quality
    reliability: tuple[metrics.ReliabilityBin, ...]
    calibration_error: float
    error_before: float
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A test image, and what the network saw in it.

    Attributes:
        number: of the test image.
        pictures: JPEGs with what each shows: the image, and maps of the answered class over it.
    """

    number: int
    pictures: tuple[tuple[bytes, str], ...]


@dataclass(frozen=True)
class RunReport:
    """What the report of a run says.

    Attributes:
        name: of the run.
        facts: about the run, name and finding.
        notes: what must be known besides, sentences.
        classes: their names.
        images: the test images.
        views: how right the answers are; mistakes are those of the first.
        temperature: of the probabilities.
        history: one row per epoch; empty where it is not known.
        best_epoch: whose weights are kept; None where that is not known.
        examples: of some images, mistakes and others.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    views: tuple[ViewReport, ...]
    temperature: Temperature
    history: tuple[Mapping[str, float], ...] = ()
    best_epoch: int | None = None
    examples: tuple[Example, ...] = field(default=(), repr=False)

    @property
    def truth(self) -> NDArray[np.int64]:
        """True classes (N,) of the images."""
        return np.array([image.label for image in self.images], np.int64)

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        answers = self.views[0].probabilities
        wrong = mistakes(self.truth, answers)
        return {
            "run": self.name,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "temperature": asdict(self.temperature),
            "views": {view.view: _as_dict(view) for view in self.views},
            "mistakes": [
                {
                    "image": self.images[number].relative,
                    "true": self.classes[self.images[number].label],
                    "predicted": self.classes[int(answers[number].argmax())],
                    "probability": float(answers[number].max()),
                }
                for number in wrong
            ],
        }


def _as_dict(view: ViewReport) -> dict[str, object]:
    return {
        **asdict(view.quality),
        "reliability": [asdict(entry) for entry in view.reliability],
        "calibration_error": view.calibration_error,
        "calibration_error_at_temperature_1": view.error_before,
    }


def fitted_temperature(
    logits: Sequence[NDArray[np.float64]], labels: NDArray[np.int64], origin: str
) -> Temperature:
    """Fit a temperature to images that were held out.

    Args:
        logits: (N, classes) of each view of the images.
        labels: (N,) true classes.
        origin: what the images are, in words.
    """
    joined, repeated = np.concatenate(logits), np.tile(labels, len(logits))
    return Temperature(best_temperature(joined, repeated), origin, fitted=True)


def measure_view(
    outputs: Outputs,
    images: Sequence[LabelledImage],
    classes: Sequence[str],
    temperature: Temperature,
) -> ViewReport:
    """Compare a network's answers with the truth.

    Args:
        outputs: of the images, N at least 1.
        images: with label, source and microscope.
        classes: their names.
        temperature: of the probabilities.
    """
    truth = np.array([image.label for image in images], np.int64)
    predicted = outputs.logits.argmax(1)
    right = predicted == truth
    chances = probabilities(outputs.logits, temperature.value)
    before = probabilities(outputs.logits, 1.0)
    bins, error = metrics.reliability(chances.max(1), right)
    _, error_before = metrics.reliability(before.max(1), right)
    return ViewReport(
        view=outputs.view,
        quality=measure_quality(
            classes,
            truth,
            predicted,
            chances,
            [image.source or image.relative for image in images],
            grouped=any(image.source for image in images),
            domains=[image.domain for image in images],
        ),
        reliability=bins,
        calibration_error=present(error, "the calibration error of images"),
        error_before=present(error_before, "the calibration error of images"),
        probabilities=chances,
    )


def mistakes(truth: NDArray[np.int64], chances: NDArray[np.float64]) -> list[int]:
    """Return the numbers of wrong answers, the most confident first."""
    confidence = chances.max(1)
    wrong = np.flatnonzero(chances.argmax(1) != truth)
    return [int(number) for number in sorted(wrong, key=lambda n: (-confidence[n], n))]


def right_ones(truth: NDArray[np.int64], chances: NDArray[np.float64], most: int) -> list[int]:
    """Return numbers of right answers: of each class the one of median confidence.

    Args:
        truth: (N,) true classes.
        chances: (N, classes).
        most: of them.
    """
    confidence, found = chances.max(1), []
    for label in sorted(set(truth.tolist())):
        own = np.flatnonzero((truth == label) & (chances.argmax(1) == label))
        if len(own):
            ordered = own[np.argsort(confidence[own], kind="stable")]
            found.append(int(ordered[len(ordered) // 2]))
    return found[:most]
