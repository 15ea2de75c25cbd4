"""Reports of several devices side by side: what must be equal, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from command import refused, run_command
from tiny_metadata import plain_image, tiny_file
from tiny_model import COLOURS

from qlvit_edge.evaluation.predictions import Predictions


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One validation of six images; devices are made of it."""
    folder = tmp_path_factory.mktemp("measured")
    for label in COLOURS:
        (folder / "cells" / label).mkdir(parents=True)
        for number in range(2):
            image = plain_image(label, size=20, level=170 + 20 * number)
            cv2.imwrite(str(folder / "cells" / label / f"{number}.png"), image[:, :, ::-1])
    model = tiny_file(folder / "m.tflite")
    given = ("--data", folder / "cells", "--out", folder / "out", "--one-view")
    assert run_command("validate", model, *given) == 0
    return folder / "out"


Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a device's report and its predictions."""


def device(measured: Path, folder: Path, name: str, *changes: Change) -> Path:
    """Write what a device of that name would have said; returns its report."""
    said = json.loads((measured / "report.json").read_text())
    answers = json.loads((measured / "predictions.json").read_text())
    said["device"] = answers["device"] = name
    for check in said["checks"]:
        check["state"] = "passed"
    said["verdict"] = {"outcome": "may be used", "failures": [], "reservations": []}
    for change in changes:
        change(said, answers)
    found = Predictions.model_validate(answers)
    said["predictions"]["outputs_sha256"] = found.outputs_sha256
    said["predictions"]["arithmetic"] = found.arithmetic
    (folder / name).mkdir(parents=True)
    (folder / name / "predictions.json").write_text(json.dumps(answers))
    (folder / name / "report.json").write_text(json.dumps(said))
    return folder / name / "report.json"


def merged(out: Path) -> Any:
    return json.loads((out / "comparison.json").read_text())


def another_logit(said: dict[str, Any], answers: dict[str, Any]) -> None:
    answers["images"][1]["views"]["whole_image"]["logits"][0] += 1


def another_answer(said: dict[str, Any], answers: dict[str, Any]) -> None:
    answers["images"][1]["views"]["whole_image"]["answer"] = "GREEN and more"


def reference(said: dict[str, Any], answers: dict[str, Any]) -> None:
    answers["arithmetic"] = "reference"


def unproved(said: dict[str, Any], answers: dict[str, Any]) -> None:
    answers["arithmetic"] = None


def slow(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["verdict"].update(outcome="may not be used", failures=["latency above the budget"])
    said["checks"].append({"name": "latency", "state": "failed", "text": "above the budget"})


def reserved(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["verdict"].update(outcome="may be used with reservations", reservations=["warm"])
    said["checks"].append({"name": "temperature", "state": "warning", "text": "warm"})


def test_equal_devices_may_all_be_used(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [device(measured, tmp_path, name) for name in ("pi4", "pi5", "<b>")]
    assert run_command("validate", "--merge", *files, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert said.startswith("MAY BE USED: 3 devices on the same 6 images.")
    assert "pi4, pi5, <b>: the same bytes, XNNPACK's arithmetic" in said
    found = merged(tmp_path / "out")
    assert found["verdict"]["outcome"] == "may be used"
    assert [one["name"] for one in found["devices"]] == ["pi4", "pi5", "<b>"]
    assert [one["same_bytes"] for one in found["devices"]] == [None, True, True]
    assert [one["answers_differ"] for one in found["devices"]] == [None, 0, 0]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h2>&lt;b&gt;</h2>" in page
    assert '<p class="verdict good"><b>May be used</b>' in page


@pytest.mark.parametrize(
    ("changes", "code", "outcome", "reason"),
    [
        ([another_logit], 1, "may not be used", "pi5 (1 image): not the bytes of pi4"),
        ([slow], 1, "may not be used", "pi5: may not be used (latency)"),
        ([reserved], 0, "may be used with reservations", "pi5: may be used with reservations"),
        ([reference], 0, "may be used with reservations", "pi5 alone computes the reference"),
        ([unproved], 0, "may be used with reservations", "pi5 computes no proved arithmetic"),
        (
            [reference, another_answer],
            0,
            "may be used with reservations",
            "1 image answered otherwise on pi5 than on pi4",
        ),
    ],
)
def test_one_thing_otherwise_on_one_device_is_said(
    changes: list[Change], code: int, outcome: str, reason: str, measured: Path, tmp_path: Path
) -> None:
    files = [device(measured, tmp_path, "pi4"), device(measured, tmp_path, "pi5", *changes)]
    assert run_command("validate", "--merge", *files, "--out", tmp_path / "out") == code
    verdict = merged(tmp_path / "out")["verdict"]
    assert verdict["outcome"] == outcome
    assert reason in verdict["sentence"]


def test_without_predictions_other_bytes_are_still_seen(measured: Path, tmp_path: Path) -> None:
    files = [device(measured, tmp_path, "pi4"), device(measured, tmp_path, "pi5", another_logit)]
    for file in files:
        file.with_name("predictions.json").unlink()
    assert run_command("validate", "--merge", *files, "--out", tmp_path / "out") == 1
    sentence = merged(tmp_path / "out")["verdict"]["sentence"]
    assert "pi5 (how many images is not known): not the bytes of pi4" in sentence
    other = device(measured, tmp_path, "pi6")
    other.with_name("predictions.json").unlink()
    assert run_command("validate", "--merge", files[0], other, "--out", tmp_path / "out") == 0
    verdict = merged(tmp_path / "out")["verdict"]
    assert verdict["outcome"] == "may be used with reservations"
    assert "not examined: same answers (predictions.json not beside" in verdict["sentence"]


def other_model(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["model"]["sha256"] = "f" * 64


def other_images(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["predictions"]["data_sha256"] = "f" * 64


def other_input(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["data"]["input"] = "crop by the cell finder, margin 0.4"


def old_format(said: dict[str, Any], answers: dict[str, Any]) -> None:
    del said["format"]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (other_model, "is of another model file"),
        (other_images, "is of other images"),
        (other_input, "judges crop by the cell finder"),
        (old_format, "it is no report of `validate` (format: is missing)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    change: Change,
    finding: str,
    measured: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, second = device(measured, tmp_path, "pi4"), device(measured, tmp_path, "pi5", change)
    out = tmp_path / "out"
    assert finding in refused(capfd, "validate", "--merge", first, second, "--out", out)
    assert "is the same report" in refused(capfd, "validate", "--merge", first, first, "--out", out)
    assert "compares with nothing" in refused(capfd, "validate", "--merge", first, "--out", out)
    first.with_name("predictions.json").write_bytes(
        (measured / "predictions.json").read_bytes().replace(b'"accepted"', b'"uncertain"')
    )
    third = device(measured, tmp_path, "pi6", another_logit)
    third.with_name("predictions.json").write_bytes((measured / "predictions.json").read_bytes())
    said = refused(capfd, "validate", "--merge", first, third, "--out", out)
    assert "is not what" in said
    assert not out.exists()


def test_options_that_measure_do_not_go_with_merging(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = measured / "report.json"
    given = ("validate", "--merge", file, file, "--out", tmp_path / "out")
    assert run_command(*given, "--min-accuracy", 90) == 2
    assert "--min-accuracy measures, --merge does not" in capsys.readouterr().err
    assert run_command("validate", "a", "b", "--out", tmp_path / "out") == 2
    assert "several reports are compared with --merge" in capsys.readouterr().err


def another_truth(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["accuracy"] = said["accuracy"] / 2


def other_classes(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["data"]["classes"] = {**said["data"]["classes"], "BLUE": 1}


def accepts_more(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["acceptance"]["accept_at"] = 0.01


def green_above_a_warning(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["checks"][0]["state"] = "warning"


def without_checks(said: dict[str, Any], answers: dict[str, Any]) -> None:
    said["checks"] = []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (another_truth, "counts other answers as right than"),
        (other_classes, "counts its images to other classes"),
        (accepts_more, "accepts answers from another probability on"),
        (green_above_a_warning, "by its checks the model may be used with reservations, not"),
        (without_checks, "it is no report of `validate`"),
    ],
)
def test_what_was_not_judged_alike_is_never_green(
    measured: Path,
    tmp_path: Path,
    change: Change,
    finding: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [device(measured, tmp_path, "pi4"), device(measured, tmp_path, "pi5", change)]
    said = refused(capsys, "validate", "--merge", *files, "--out", tmp_path / "out")
    assert finding in said
    assert not (tmp_path / "out").exists()


def test_other_demands_are_no_pass(measured: Path, tmp_path: Path) -> None:
    def asked(least: float, most: float) -> Change:
        def change(said: dict[str, Any], answers: dict[str, Any]) -> None:
            said["gate"], said["latency_gate"] = {"least": least}, {"most_ms": most}

        return change

    files = [
        device(measured, tmp_path, "pi4", asked(0.9, 50)),
        device(measured, tmp_path, "pi5", asked(0.1, 50)),
    ]
    assert run_command("validate", "--merge", *files, "--out", tmp_path / "out") == 0
    found = merged(tmp_path / "out")
    assert found["verdict"]["outcome"] == "may be used with reservations"
    assert "--min-accuracy was not alike (10, 90 %)" in found["verdict"]["sentence"]


def test_what_is_compared_is_never_overwritten(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [device(measured, tmp_path, name) for name in ("pi4", "pi5")]
    said = refused(capsys, "validate", "--merge", *files, "--out", tmp_path / "pi5")
    assert "holds a report that is compared" in said
    assert {path.name for path in files[1].parent.iterdir()} == {"predictions.json", "report.json"}
    before = (measured / "predictions.json").read_bytes()
    given = ("--data", measured.parent / "cells", "--compare", measured / "predictions.json")
    said = refused(
        capsys, "validate", measured.parent / "m.tflite", *given, "--out", measured / ".." / "out"
    )
    assert "would be overwritten" in said
    assert (measured / "predictions.json").read_bytes() == before
