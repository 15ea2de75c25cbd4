"""The verdict on accuracy: evidence refuses, too few images do not pass."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from command import files_below, refused, run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.converters.proof import accuracy
from qlvit_edge.converters.proof.accuracy import (
    CLASS_FACTOR,
    LEAST_IMAGES,
    Accuracies,
    judge,
    judge_budget,
)
from qlvit_edge.converters.routes import compare as side_by_side
from qlvit_edge.converters.routes import torch_answers
from qlvit_edge.converters.routes import verdict as of_routes
from qlvit_edge.converters.routes.closeness import Bound, Closeness
from qlvit_edge.errors import AccuracyBudgetError
from qlvit_edge.statistics import CONFIDENCE

NAMES = ("A", "B", "C", "D")


def found(images: int, lost: int, gained: int = 0, *, label: int | None = None) -> Accuracies:
    """A file that loses some images and gains others, of one class or of all in turn."""
    labels = np.arange(images) % len(NAMES)
    order = np.arange(images) if label is None else np.flatnonzero(labels == label)
    before, after = labels.copy(), labels.copy()
    after[order[:lost]] += 1
    before[order[lost : lost + gained]] += 1
    return judge(labels, before % len(NAMES), after % len(NAMES), NAMES)


@pytest.mark.parametrize(
    ("images", "lost", "gained", "outcome"),
    [
        (60, 1, 0, "within the budget"),  # one flipped image is no evidence
        (60, 5, 0, "within the budget"),  # p = 0.06
        (60, 7, 0, "over the budget"),
        (60, 20, 0, "over the budget"),
        (60, 20, 20, "within the budget"),
        (60, 0, 20, "within the budget"),
        (1608, 8, 0, "within the budget"),  # 0.5 points, as allowed
        (1608, 30, 0, "over the budget"),
        (28, 0, 0, "within the budget"),
        (20, 0, 0, "within the budget"),
        (19, 0, 0, "too few images"),
        (1, 0, 0, "too few images"),
        (1, 1, 0, "too few images"),
        (19, 19, 0, "over the budget"),  # enough to refuse is enough
    ],
)
def test_a_refusal_takes_evidence_and_a_pass_takes_images(
    images: int, lost: int, gained: int, outcome: str
) -> None:
    verdict = judge_budget(found(images, lost, gained), 0.5)
    assert verdict.outcome == outcome
    assert verdict.passed is (outcome == "within the budget")
    if verdict.passed:
        verdict.require("m.tflite")
    else:
        with pytest.raises(AccuracyBudgetError, match=r"m\.tflite: not written: "):
            verdict.require("m.tflite")


def test_the_budget_itself_is_allowed() -> None:
    """A loss of which the lower limit is the budget passes; a hair less is refused."""
    judged = found(200, 24)
    low = judged.interval[0]
    assert low > 5
    assert judge_budget(judged, low).passed
    assert judge_budget(judged, math.nextafter(low, 0)).outcome == "over the budget"


def test_no_budget_takes_no_images() -> None:
    assert judge_budget(found(1, 1), 100).passed


def test_images_that_show_the_budget_to_be_kept_are_said_to() -> None:
    assert judge_budget(found(2000, 0), 0.5).finding == "shown by 2000 images"
    assert "do not rule out 12.34 points" in judge_budget(found(28, 0), 0.5).finding


def test_one_class_may_lose_three_times_the_budget_and_no_more() -> None:
    assert judge_budget(found(4000, 40), 1.0).passed  # spread over the classes
    assert judge_budget(found(4000, 30, label=1), 1.0).passed  # 3 points of class B
    assert judge_budget(found(4000, 40, label=1), 1.0).passed  # 4 points of 1000 may be chance
    verdict = judge_budget(found(4000, 50, label=1), 0.9)
    assert verdict.outcome == "over the budget"
    assert "5.00 points on class B (100.00% → 95.00% of 1000 images), 2.7 are allowed" in (
        verdict.finding
    )
    assert judge_budget(found(4000, 40, 40, label=1), 1.0).passed  # as many gained


def test_a_class_may_lose_exactly_what_is_allowed() -> None:
    def limit(lost: int) -> float:
        return (
            100 * found(4000, lost, label=1).class_pairs["B"].interval(1 - (1 - CONFIDENCE) / 4)[0]
        )

    # One of which a third, times three, is the same number again.
    lost = next(n for n in range(45, 80) if CLASS_FACTOR * (limit(n) / CLASS_FACTOR) == limit(n))
    budget = limit(lost) / CLASS_FACTOR
    assert judge_budget(found(4000, lost, label=1), budget).passed
    verdict = judge_budget(found(4000, lost, label=1), budget * (1 - 1e-12))
    assert verdict.outcome == "over the budget"


def test_a_class_without_images_is_not_judged_and_no_pass() -> None:
    labels = np.arange(60) % 3
    verdict = judge_budget(judge(labels, labels, labels, NAMES), 0.5)
    assert verdict.outcome == "too few images"
    assert "no image of class D" in verdict.finding
    crops = judge_budget(judge(labels, labels, labels, NAMES), 0.5, every_class=False)
    assert crops.passed
    assert crops.finding.endswith("points, and there is no image of class D")
    few = judge(labels[:10], labels[:10], labels[:10], NAMES)
    assert not judge_budget(few, 0.5, every_class=False).passed
    assert judge_budget(judge(labels, labels, labels, NAMES), 100).passed


def test_the_least_number_is_what_is_said() -> None:
    assert found(LEAST_IMAGES - 1, 0).interval[1] == pytest.approx(17.6, abs=0.1)


def test_convert_and_compare_ask_the_same_judge() -> None:
    assert torch_answers.judge_budget is accuracy.judge_budget
    assert not {"judge_budget"} & (vars(side_by_side).keys() | vars(of_routes).keys())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("budget")
    write_run(root / "cells", write_folder(root / "data", 5), small_config())
    assert run_command("calibrate", root / "cells", "--images", 8) == 0
    return root / "cells"


def test_one_judged_image_is_no_pass(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    options = ("--accuracy-images", 1)
    line = refused(capfd, "convert", run, "--out", out, *options, code=1)
    assert "not written: 1 image cannot tell whether integers lose more than 0.5 points" in line
    assert "set no budget with --max-drop 100" in line
    assert files_below(tmp_path) == set()


def test_compare_shows_the_verdict_of_convert(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--routes", "native", "--images", 4, "--rounds", 1)
    assert run_command("compare", run, *options) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "native int8, fast: 4 images cannot tell whether integers lose more" in printed
    assert run_command("compare", run, *options, "--max-drop", 100) == 0
    assert "cannot tell" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("median", "worst", "agreement", "within"),
    [
        (0.1, 1.0, 0.95, True),
        (math.nextafter(0.1, 1), 1.0, 0.95, False),
        (0.1, math.nextafter(1.0, 2), 0.95, False),
        (0.1, 1.0, 0.94, False),
        (math.nan, 1.0, 1.0, False),
    ],
)
def test_what_a_bound_allows_is_allowed(
    median: float, worst: float, agreement: float, within: bool
) -> None:
    assert Closeness(100, median, worst, agreement).within(Bound(0.1, 1.0, 0.95)) is within
