"""What a model, and its guard, make of images that are less fit to be judged.

    python benchmarks/degraded.py blood.tflite --data cells/ --split split.json

Every way and strength of `qlvit_edge.calibration.degradations`, applied to the photographs
themselves before anything else is done with them, of images that the model was not trained with
(of a split, its test side; of other folders, all). Prints per strength: accuracy of all answers,
the share that is accepted, the share that is abstained from as not fit to be judged, the accuracy
of the accepted ones and which share of all is accepted and wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qlvit_edge.calibration.degradations import DEGRADATIONS, Image
from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.data.split import load_split, select
from qlvit_edge.inference.classifier import Classification, Classifier
from qlvit_edge.preprocess import decode
from qlvit_edge.text import folded

VIEWS = {"crop": cell_view, "whole": whole_view}


@dataclass(frozen=True)
class Row:
    """One strength of one way.

    Attributes:
        degradation: the way; `none` of the photographs as they are.
        unit: what the strength is.
        strength: how much.
        images: how many.
        accuracy: of all answers.
        accepted: share of them.
        abstained: share of them.
        accepted_right: accuracy of the accepted; None where none is.
        accepted_wrong: share of all that is accepted and wrong.
    """

    degradation: str
    unit: str
    strength: float
    images: int
    accuracy: float
    accepted: float
    abstained: float
    accepted_right: float | None
    accepted_wrong: float

    @classmethod
    def of(
        cls,
        degradation: str,
        unit: str,
        strength: float,
        answers: Sequence[tuple[str, Classification]],
    ) -> Row:
        """Count answers, each with the true class."""
        count = len(answers)
        right = [truth == answer.label for truth, answer in answers]
        taken = [r for r, (_, a) in zip(right, answers, strict=True) if a.verdict == "accepted"]
        return cls(
            degradation=degradation,
            unit=unit,
            strength=strength,
            images=count,
            accuracy=sum(right) / count,
            accepted=len(taken) / count,
            abstained=sum(answer.verdict == "abstained" for _, answer in answers) / count,
            accepted_right=sum(taken) / len(taken) if taken else None,
            accepted_wrong=(len(taken) - sum(taken)) / count,
        )

    def line(self) -> str:
        """Return it as a row of the table."""
        right = "–" if self.accepted_right is None else f"{self.accepted_right:.1%}"
        return (
            f"| {self.degradation} | {self.strength:g} | {self.accuracy:.1%} | {self.accepted:.1%} "
            f"| {self.abstained:.1%} | {right} | {self.accepted_wrong:.1%} |"
        )


def rows(
    classifier: Classifier,
    photographs: Sequence[tuple[Image, str]],
    view: str,
    ways: Sequence[str],
) -> Iterator[Row]:
    """Measure every strength.

    Args:
        classifier: the model.
        photographs: images with their true class.
        view: one of `VIEWS`.
        ways: names of the degradations.
    """

    def answers(degraded: Sequence[Image]) -> list[tuple[str, Classification]]:
        metadata = classifier.metadata
        found = []
        for image, (_, truth) in zip(degraded, photographs, strict=True):
            pixels = VIEWS[view](image, metadata.input_size, metadata.channels)
            found.append((truth, classifier.infer(pixels)))
        return found

    yield Row.of("none", "", 1.0, answers([image for image, _ in photographs]))
    for way in (way for way in DEGRADATIONS if way.name in ways):
        for strength in way.strengths:
            degraded = [way.apply(image, strength) for image, _ in photographs]
            yield Row.of(way.name, way.unit, strength, answers(degraded))


def _chosen(data: Path, split: Path | None, count: int) -> tuple[list[LabelledImage], list[str]]:
    folder = scan(data)
    images = folder.images if split is None else select(folder, load_split(split).test)
    return of_every_class(images, count), list(folder.classes)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a .tflite file or the name of a bundled model")
    parser.add_argument("--data", type=Path, required=True, help="a folder of labelled images")
    parser.add_argument("--split", type=Path, help="the split of these images")
    parser.add_argument("--images", type=int, default=200, help="images, evenly over the classes")
    parser.add_argument("--view", choices=sorted(VIEWS), default="crop")
    parser.add_argument(
        "--way", action="append", choices=[way.name for way in DEGRADATIONS], help="not all ways"
    )
    parser.add_argument("--json", action="store_true", help="one row per line")
    asked = parser.parse_args()
    chosen, folders = _chosen(asked.data, asked.split, asked.images)
    with Classifier(asked.model, isolated=False) as classifier:
        own = {folded(label): label for label in classifier.labels}
        names = {name: own[folded(name)] for name in folders if folded(name) in own}
        photographs = [
            (decode(image.path), names[folders[image.label]])
            for image in chosen
            if folders[image.label] in names
        ]
        ways = asked.way or [way.name for way in DEGRADATIONS]
        if not asked.json:
            print(
                "| degradation | strength | accuracy | accepted | abstained | of the accepted "
                "right | accepted and wrong |\n|---|---|---|---|---|---|---|"
            )
        for row in rows(classifier, photographs, asked.view, ways):
            print(json.dumps(asdict(row)) if asked.json else row.line(), flush=True)


if __name__ == "__main__":
    main()
