"""Whether a model may be used on this device: each single wrong thing changes the verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
from command import refused, run_command
from tiny_metadata import metadata, plain_image
from tiny_model import COLOURS, tiny_model

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.evaluation import validation
from qlvit_edge.evaluation.answers import Answers, View
from qlvit_edge.evaluation.image_set import ImageSet, gather
from qlvit_edge.evaluation.measured_model import Model, open_model
from qlvit_edge.evaluation.predictions import Predictions, as_text, read_predictions
from qlvit_edge.evaluation.recording import hash_files, record
from qlvit_edge.evaluation.validation_page import render
from qlvit_edge.evaluation.validation_report import Measurement, ValidationReport
from qlvit_edge.evaluation.validation_text import Request, compose, lines
from qlvit_edge.evaluation.verdict import judge
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.measuring.conditions import Conditions
from qlvit_edge.modelfile.metadata import ModelMetadata, embed

CALM = Conditions(
    seconds=2.0,
    temperature_c=45.0,
    held_back=(),
    held_back_earlier=(),
    others_cores=0.02,
    busiest=(),
)
ALL_ASKED = Request(least_accuracy=0.5, most_ms=60_000)


def cells_and_model(folder: Path, data: ModelMetadata | None = None) -> tuple[Path, Path, Path]:
    """Images of three colours, a split of them, and a model that says it was trained with it."""
    for label in COLOURS:
        (folder / "cells" / label).mkdir(parents=True)
        for number in range(8):
            image = plain_image(label, size=20, level=150 + 10 * number)
            cv2.imwrite(str(folder / "cells" / label / f"{number}.png"), image[:, :, ::-1])
    split = stratified_split(scan(folder / "cells"), 0.5, 0)
    data = (data or metadata(features=True)).model_copy(
        update={"split_fingerprint": split.fingerprint}
    )
    model, split_file = folder / "m.tflite", folder / "split.json"
    model.write_bytes(embed(tiny_model(features=True), data))
    split_file.write_text(split.model_dump_json())
    return folder / "cells", split_file, model


@dataclass(frozen=True)
class Validated:
    """A validation in which everything was examined and passed, and what it is made of."""

    model: Model
    images: ImageSet
    found: Measurement
    answers: list[Answers]
    predictions: Predictions

    def report(self, request: Request = ALL_ASKED, **changes: Any) -> ValidationReport:
        """Judge it anew, with something changed."""
        parts: dict[str, Any] = {
            "found": self.found,
            "predictions": self.predictions,
            "recorded": self.predictions,
        }
        parts |= changes
        return compose(self.model, self.images, answers=self.answers, request=request, **parts)


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Validated:
    cells, split_file, file = cells_and_model(tmp_path_factory.mktemp("validated"))
    model = open_model(file)
    images = gather(model, cells, split_file, class_map={}, allow_unknown=False)
    found, answers = validation.validate(
        model,
        images,
        kernels=Kernels.AUTO,
        runtime="litert",
        views=[View.WHOLE],
        accept_at=None,
        advance=lambda: None,
    )
    found = dataclasses.replace(found, conditions=CALM)
    predictions = record(
        found,
        answers,
        images.match.labels,
        hash_files(images),
        device="workstation",
        date="2026-11-27T08:00:00+00:00",
    )
    return Validated(model, images, found, answers, predictions)


def test_it_may_be_used_where_everything_was_examined_and_passed(validated: Validated) -> None:
    report = validated.report()
    assert report.verdict.outcome == "may be used"
    assert {check.state for check in report.checks} == {"passed"}
    assert report.verdict.sentence.startswith("100.00 % of 12 images right (95 % interval ")
    assert report.verdict.sentence.endswith(" to 100.0 %).")
    assert "the same bytes as on workstation for all 12 images" in "\n".join(lines(report))
    assert '<p class="verdict good"><b>May be used</b>' in render(report, validated.answers)


def state(**changes: Any) -> Callable[[Validated], dict[str, Any]]:
    """The same measurement on a device in another state."""
    conditions = dataclasses.replace(CALM, **changes)
    return lambda one: {"found": dataclasses.replace(one.found, conditions=conditions)}


def golden(**changes: Any) -> Callable[[Validated], dict[str, Any]]:
    """The same measurement with other golden pairs."""
    return lambda one: {
        "found": dataclasses.replace(
            one.found, golden=dataclasses.replace(one.found.golden, **changes)
        )
    }


def on_reference(**changes: Any) -> Callable[[Validated], dict[str, Any]]:
    """The same, on the reference kernels."""

    def changed(one: Validated) -> dict[str, Any]:
        assert one.found.golden_reference is not None
        pairs = dataclasses.replace(one.found.golden_reference, **changes)
        return {"found": dataclasses.replace(one.found, golden_reference=pairs)}

    return changed


def otherwise(place: str, value: Any, **header: Any) -> Callable[[Validated], dict[str, Any]]:
    """The other machine's third image in one thing otherwise."""

    def changed(one: Validated) -> dict[str, Any]:
        said = one.predictions.model_dump() | header
        if place:
            said["images"][2]["views"]["whole_image"][place] = value
        return {"recorded": Predictions.model_validate(said)}

    return changed


def without(count: int, which: str) -> Callable[[Validated], dict[str, Any]]:
    """The other machine, or this one, was not shown some images."""

    def changed(one: Validated) -> dict[str, Any]:
        fewer = one.predictions.model_copy(update={"images": one.predictions.images[count:]})
        return {which: fewer}

    return changed


def damaged(one: Validated) -> dict[str, Any]:
    data = dataclasses.replace(one.found.data, damaged={"RED/1.png": "cut short"})
    return {"found": dataclasses.replace(one.found, data=data)}


UNPROVED = {"arithmetic": None}
MAY_NOT: dict[str, tuple[Callable[[Validated], dict[str, Any]], str]] = {
    "a golden pair": (golden(passed=False, equal=2), "XNNPACK's kernels give 2 of 3"),
    "a golden pair on reference kernels": (
        on_reference(passed=False, equal=2),
        "reference kernels give 2 of 3",
    ),
    "another answer": (otherwise("answer", "BLUE and more"), "1 of 12 images answered otherwise"),
    "another verdict": (otherwise("verdict", "uncertain"), "1 of 12 images answered otherwise"),
    "another answer of unproved kernels": (
        otherwise("answer", "BLUE and more", **UNPROVED),
        "1 of 12 images answered otherwise",
    ),
    "one logit": (otherwise("logits", [1, 2, 3]), "1 of 12 images not the same bytes"),
    "features": (otherwise("features", "0" * 64), "1 of 12 images not the same bytes"),
    "no features": (otherwise("features", None), "1 of 12 images not the same bytes"),
    "pixels": (otherwise("input", "0" * 64), "not decoded, cropped or scaled as on"),
    "a damaged image": (damaged, "1 image could not be read"),
    "heat": (state(temperature_c=80.0), "80 °C"),
    "undervoltage": (state(held_back=("undervoltage",)), "power supply gives too little"),
}
RESERVED: dict[str, tuple[Callable[[Validated], dict[str, Any]], str]] = {
    "no golden pair": (
        golden(passed=None, must_be_equal=False, equal=None, reason="there is none"),
        "not examined: golden pairs (no golden pair decides: there is none)",
    ),
    "no reference kernels": (
        lambda one: {
            "found": dataclasses.replace(one.found, golden_reference=None, no_reference="refused")
        },
        "not examined: golden pairs on reference kernels (refused)",
    ),
    "no other machine": (lambda _: {"recorded": None}, "not examined: agreement (no --compare"),
    "other bytes of unproved kernels": (
        otherwise("logits", [1, 2, 3], **UNPROVED),
        "1 of 12 images other bytes",
    ),
    "the same bytes of unproved kernels": (otherwise("", None, **UNPROVED), "the same bytes too"),
    "images not shown here": (without(2, "predictions"), "2 images of workstation not shown here"),
    "images not shown there": (without(2, "recorded"), "2 images here not shown on workstation"),
    "warmth": (state(temperature_c=70.0), "70 °C is warm"),
    "no sensor": (state(temperature_c=None), "not examined: temperature (no sensor tells it)"),
    "throttled": (state(held_back=("throttled",)), "held back meanwhile (throttled)"),
    "throttled earlier": (state(held_back_earlier=("throttled",)), "held back since its start"),
    "throttling not told": (state(held_back=None), "not examined: throttling"),
    "busy": (state(others_cores=1.5, busiest=("make",)), "took 1.50 cores (make)"),
    "others not told": (state(others_cores=None), "not examined: other programs"),
}


@pytest.mark.parametrize("wrong", MAY_NOT)
def test_it_may_not_be_used_for_any_single_reason(wrong: str, validated: Validated) -> None:
    change, reason = MAY_NOT[wrong]
    report = validated.report(**change(validated))
    assert report.verdict.outcome == "may not be used"
    assert reason in report.verdict.sentence
    assert len(report.verdict.failures) == 1
    assert '<p class="verdict bad"><b>May not be used</b>' in render(report, validated.answers)


@pytest.mark.parametrize("less", RESERVED)
def test_what_warns_or_was_not_examined_is_never_green(less: str, validated: Validated) -> None:
    change, reason = RESERVED[less]
    report = validated.report(**change(validated))
    assert report.verdict.outcome == "may be used with reservations"
    assert reason in report.verdict.sentence
    assert not report.verdict.failures
    assert len(report.verdict.reservations) == 1
    assert '<p class="verdict less">' in render(report, validated.answers)


def test_gates_that_were_not_asked_for_are_not_examined(validated: Validated) -> None:
    report = validated.report(Request())
    assert report.verdict.reservations == (
        "not examined: accuracy (no --min-accuracy to reach), latency (no --max-latency to keep)",
    )
    for request in (Request(least_accuracy=1.01, most_ms=9e9), Request(0.5, most_ms=1e-9)):
        assert validated.report(request).verdict.outcome == "may not be used"


def test_a_slow_busy_device_is_not_excused(validated: Validated) -> None:
    busy = state(others_cores=1.5)(validated)
    report = validated.report(Request(least_accuracy=0.5, most_ms=1e-9), **busy)
    assert report.verdict.outcome == "may not be used"
    assert "while other programs ran: measure again on an idle device" in report.verdict.sentence


def test_all_reasons_are_said_and_a_failure_outweighs_everything(validated: Validated) -> None:
    conditions = dataclasses.replace(CALM, temperature_c=90.0, held_back=None)
    found = dataclasses.replace(damaged(validated)["found"], conditions=conditions)
    verdict = validated.report(found=found).verdict
    assert verdict.outcome == "may not be used"
    assert len(verdict.failures) == 2
    assert verdict.reservations == ("not examined: throttling (neither firmware nor kernel tells)",)
    with pytest.raises(ValueError, match="nothing was examined"):
        judge("X", ())


def test_another_view_of_the_same_images_is_no_agreement(validated: Validated) -> None:
    said = validated.predictions.model_dump()
    for image in said["images"]:
        image["views"] = {"cell_crop": None}
    report = validated.report(recorded=Predictions.model_validate(said))
    assert report.verdict.outcome == "may be used with reservations"
    assert "was not shown the images as they are judged here" in report.verdict.sentence


def test_predictions_are_read_as_they_were_written(validated: Validated, tmp_path: Path) -> None:
    file = tmp_path / "predictions.json"
    file.write_text(as_text(validated.predictions))
    assert read_predictions(file) == validated.predictions
    assert len(file.read_text().splitlines()) == 12 + 11


def test_a_flipped_byte_of_a_golden_pair_and_one_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command: recorded here, compared here, and then with one thing wrong."""
    cells, split_file, model = cells_and_model(tmp_path)
    monkeypatch.setattr("qlvit_edge.measuring.conditions.Watch.end", lambda self: CALM)
    asked = ("--data", cells, "--split", split_file, "--one-view")
    asked += ("--min-accuracy", 50, "--max-latency", 60_000)
    there, here = tmp_path / "there", tmp_path / "here"
    assert run_command("validate", model, *asked, "--out", there) == 0
    compared = (*asked, "--out", here, "--compare", there / "predictions.json")
    assert run_command("validate", model, *compared) == 0
    assert capsys.readouterr().out.count("MAY BE USED: 100.00 % of 12 images right") == 1
    report = json.loads((here / "report.json").read_text())
    assert (report["format"], report["verdict"]["outcome"]) == (2, "may be used")
    assert {check["state"] for check in report["checks"]} == {"passed"}
    assert report["agreement"]["exact"] is True
    assert report["golden_reference"]["passed"] is True
    first, second = (read_predictions(out / "predictions.json") for out in (there, here))
    assert first.images == second.images

    recorded = json.loads((there / "predictions.json").read_text())
    recorded["images"][3]["views"]["whole_image"]["logits"][0] ^= 1
    (there / "predictions.json").write_text(json.dumps(recorded))
    assert run_command("validate", model, *compared) == 1
    assert capsys.readouterr().out.startswith("MAY NOT BE USED: ")

    pairs = metadata(features=True).golden
    logits = [pairs[1].logits[0] ^ 1, *pairs[1].logits[1:]]
    flipped = pairs[1].model_copy(update={"logits": logits})
    data = metadata(features=True).model_copy(update={"golden": [pairs[0], flipped, pairs[2]]})
    model.write_bytes(embed(tiny_model(features=True), data))
    assert run_command("validate", model, *asked, "--out", here) == 1
    assert "reference kernels give 2 of 3 golden pairs only" in capsys.readouterr().err
    assert run_command("validate", model, *compared) == 2
    assert "is of another model file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"model_sha256": "f" * 64}, "is of another model file"),
        ({"images": []}, "holds none of the"),
        ({"arithmetic": "float"}, "holds no predictions (arithmetic"),
        ({"more": 1}, "holds no predictions (more: there is no such field"),
        (None, "is not JSON"),
    ],
)
def test_predictions_that_cannot_be_compared_are_refused_before_anything_is_measured(
    change: dict[str, Any] | None,
    finding: str,
    validated: Validated,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "predictions.json"
    said = json.loads(as_text(validated.predictions)) | (change or {})
    file.write_text("{" if change is None else json.dumps(said))
    given = ("--data", validated.images.folder.root, "--out", tmp_path / "out")
    assert finding in refused(capfd, "validate", validated.model.path, *given, "--compare", file)
    assert not (tmp_path / "out").exists()
