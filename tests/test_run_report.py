"""The report of a run: made of any test side, self-contained, honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import files_below, refused, run_command
from small_run import CLASSES, cell_image, small_config, write_folder, write_run

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import Split, fingerprint
from qlvit_edge.evaluation import metrics
from qlvit_edge.evaluation.curves import LOSS, SHARES, curves
from qlvit_edge.evaluation.run_page import render
from qlvit_edge.evaluation.run_report import Temperature, mistakes, right_ones
from qlvit_edge.evaluation.temperature import probabilities
from qlvit_edge.files import write_text
from qlvit_edge.training.checkpoint import load_checkpoint
from qlvit_edge.training.history import recorded_history
from qlvit_edge.training.run_report import Trained, make_report

HISTORY = [
    {"epoch": 1, "loss": 1.4, "training_accuracy": 0.4, "validation_accuracy": 0.5},
    {"epoch": 2, "loss": 0.9, "training_accuracy": 0.6, "validation_accuracy": 0.7},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder `run` and its images `cells`, eight of each class."""
    root = tmp_path_factory.mktemp("reported")
    write_run(root / "run", write_folder(root / "cells", 8), small_config())
    recorded = {"history": HISTORY, "best_epoch": 2, "seconds": 90.0, "device": "cpu"}
    (root / "run" / "metrics.json").write_text(json.dumps(recorded))
    return root


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The folder of a report on every image, with the sources in the names."""
    out = place / "whole"
    by_name = ("--every-image", "--groups-from-name", r"0*(\d)\.png")
    assert run_command("report", place / "run", "--out", out, *by_name) == 0
    return out


class _Fetched(HTMLParser):
    """Every address that a page names, and how many elements of each kind it has."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def read(out: Path) -> tuple[str, dict[str, Any]]:
    return (out / "report.html").read_text(), json.loads((out / "report.json").read_text())


def test_the_page_needs_nothing_else_and_has_every_part(whole: Path) -> None:
    assert files_below(whole) == {"report.html", "report.json"}
    page, figures = read(whole)
    parser = _Fetched()
    parser.feed(page)
    assert {address.partition(",")[0] for address in parser.addresses} == {"data:image/jpeg;base64"}
    assert "script" not in parser.tags
    assert parser.tags.count("svg") == 2 + 2 * 3  # curves; confusion, ROC and reliability
    for title in ("Training", "Accuracy by class: whole images", "Mistakes", "Right answers"):
        assert f"<h2>{title}</h2>" in page
    assert "best epoch: 2" in page
    assert "2 minutes on CPU" in page
    wrong = figures["mistakes"]
    assert len(wrong) == round(32 * (1 - figures["views"]["whole_image"]["accuracy"]))
    shown = re.findall(r'class="strip"', page)
    right = {name for name, own in figures["views"]["whole_image"]["classes"].items()
             if own["recall"]}  # fmt: skip
    assert len(shown) == min(12, len(wrong)) + len(right)


def test_figures_are_those_of_the_answers(place: Path, whole: Path) -> None:
    checkpoint = load_checkpoint(place / "run")
    trained = Trained("run", checkpoint.run, checkpoint.network, torch.device("cpu"))
    folder = scan(place / "cells")
    logits = trained.outputs("whole_image", folder.images).logits
    truth = np.array([image.label for image in folder.images])
    view = read(whole)[1]["views"]["whole_image"]
    assert view["accuracy"] == pytest.approx((logits.argmax(1) == truth).mean())
    areas = metrics.one_vs_rest_auc(truth, probabilities(logits, 1.0))
    assert [own["auc"] for own in view["classes"].values()] == pytest.approx(areas)
    assert view["macro"]["auc"] == pytest.approx(np.mean(areas))
    low, high = view["macro"]["auc_interval_95"]
    assert low <= view["macro"]["auc"] <= high
    assert (view["sources"], view["interval_drawn_over"]) == (8, "8 sources")


def test_a_temperature_is_fitted_to_what_was_held_out_and_changes_no_answer(place: Path) -> None:
    checkpoint = load_checkpoint(place / "run")
    trained = Trained("run", checkpoint.run, checkpoint.network, torch.device("cpu"))
    folder = scan(place / "cells")
    fitted = trained.temperature(folder.images[::2])
    assert fitted.fitted
    assert "held out, each in both views" in fitted.origin
    test = folder.images[1::2]
    plain, divided = (
        make_report(trained, folder, test, temperature)
        for temperature in (Temperature(origin="nobody asked"), fitted)
    )
    for one, other in zip(plain.views, divided.views, strict=True):
        assert one.quality.accuracy == other.quality.accuracy
        assert one.calibration_error == one.error_before == other.error_before
        np.testing.assert_array_equal(one.probabilities.argmax(1), other.probabilities.argmax(1))
    assert "plain softmax: nobody asked" in render(plain)
    assert f"temperature of {fitted.value:.3f}" in render(divided)


def one_sided(place: Path, keep: Callable[[str], bool]) -> Path:
    """Write a split whose test side holds only some names."""
    split = Split.model_validate_json((place / "run" / "split.json").read_text())
    test = [name for name in split.test if keep(name)]
    train = sorted({*split.train, *split.test} - set(test))
    changes = {"train": train, "test": test, "fingerprint": fingerprint(train, test, [])}
    path = place / "one.json"
    write_text(path, split.model_copy(update=changes).model_dump_json())
    return path


@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes_on_the_test_side_are_said(place: Path, tmp_path: Path, classes: int) -> None:
    kept = CLASSES[:classes]
    split = one_sided(place, lambda name: name.partition("/")[0] in kept)
    assert run_command("report", place / "run", "--split", split, "--out", tmp_path) == 0
    page, figures = read(tmp_path)
    assert f"There is no test image of {', '.join(CLASSES[classes:])}" in page
    assert "No sources of the images are known" in page
    view = figures["views"]["whole_image"]
    areas = [own["auc"] for own in view["classes"].values()]
    assert [area is None for area in areas] == [classes == 1 or n >= classes for n in range(4)]
    assert (view["macro"]["auc"] is None) == (classes == 1)
    assert ("needs images of two classes" in page) == (classes == 1)


def test_one_source_is_no_interval(place: Path, tmp_path: Path) -> None:
    one = ("--every-image", "--groups-from-name", r"(\.png)")
    assert run_command("report", place / "run", "--out", tmp_path, *one) == 0
    assert "All images are of one source" in read(tmp_path)[0]


def test_folders_of_other_classes_are_left_out_and_said(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other lab"
    shutil.copytree(place / "cells" / "MONOCYTE", other / "monocyte")
    shutil.copytree(place / "cells" / "NEUTROPHIL", other / "blasts")
    arguments = ("--data", other, "--every-image", "--out", tmp_path / "out")
    assert run_command("report", place / "run", *arguments) == 0
    page, figures = read(tmp_path / "out")
    assert "8 images left out: the run has no blasts." in page
    assert figures["views"]["cell_crop"]["classes"]["MONOCYTE"]["images"] == 8


def test_what_cannot_be_reported_is_one_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, out = place / "run", ("--out", tmp_path / "out")
    assert "name it with --data" in refused(
        capfd, "report", moved(run, tmp_path, data="nowhere"), *out
    )
    (tmp_path / "blasts" / "blasts").mkdir(parents=True)
    shutil.copy(place / "cells" / "MONOCYTE" / "000.png", tmp_path / "blasts" / "blasts")
    strange = ("--data", tmp_path / "blasts", "--every-image")
    assert "holds no image of the run's classes" in refused(capfd, "report", run, *strange, *out)
    assert "name a folder with --out" in refused(capfd, "report", "blood-nano")
    broken = moved(run, tmp_path, name="broken")
    (broken / "metrics.json").write_text('{"history": "long"}')
    assert "is not what `train` writes" in refused(capfd, "report", broken, *out)
    assert not (tmp_path / "out" / "report.html").exists()


def moved(run: Path, to: Path, *, name: str = "moved", data: str | None = None) -> Path:
    """Copy a run folder; its data may be elsewhere."""
    shutil.copytree(run, to / name)
    if data is not None:
        config = json.loads((to / name / "run.json").read_text())
        (to / name / "run.json").write_text(json.dumps({**config, "data": str(to / data)}))
    return to / name


def test_a_run_that_has_not_ended_says_so(place: Path, tmp_path: Path) -> None:
    run = moved(place / "run", tmp_path)
    (run / "metrics.json").unlink()
    assert recorded_history(run).rows == ()
    checkpoint = load_checkpoint(run)
    settings = checkpoint.run.training.model_copy(update={"epochs": 9})
    trained = Trained(
        "run",
        checkpoint.run.model_copy(update={"training": settings}),
        checkpoint.network,
        torch.device("cpu"),
        HISTORY,
    )
    folder = scan(place / "cells")
    found = make_report(trained, folder, folder.images[:3], Temperature(origin="none"))
    assert "Training has not ended: 2 of 9 epochs." in render(found)


def test_mistakes_are_the_most_confident_first_and_right_ones_of_each_class() -> None:
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.99, 0.01]])
    truth = np.array([1, 0, 1, 0, 0])
    assert mistakes(truth, chances) == [0, 1]
    assert right_ones(truth, chances, 5) == [4, 2]
    assert right_ones(truth, chances, 1) == [4]


def test_a_map_is_of_the_answer_and_its_mean_is_the_logit(place: Path) -> None:
    checkpoint = load_checkpoint(place / "run")
    trained = Trained("run", checkpoint.run, checkpoint.network, torch.device("cpu"))
    folder = scan(place / "cells")
    image = folder.images[0]
    (panel,) = trained.panel(cell_image(0, 0), CLASSES[2])
    assert (panel.shown, panel.method) == (CLASSES[2], "class map")
    logits = trained.outputs("whole_image", [image]).logits[0]
    assert panel.positions.mean() == pytest.approx(logits[2], abs=1e-3)
    assert panel.label == CLASSES[int(logits.argmax())]


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "loss": 0.0}], HISTORY])
def test_curves_are_drawn_of_any_history(history: list[dict[str, float]]) -> None:
    loss = curves(history, LOSS, "Loss", percent=False, best=1 if history else None)
    shares = curves(history, SHARES, "Accuracy", percent=True, best=None)
    assert loss.count('stroke-width="2"') == min(1, len(history))
    assert ("nothing recorded" in loss) == (not history)
    assert ("nothing recorded" in shares) == (len(history) < 2)
    assert "nan" not in loss + shares
    if len(history) == 2:
        assert "validation accuracy" in shares
        assert "500 %" not in shares
