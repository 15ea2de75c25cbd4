"""Verdicts and the statement on a run, where commands show them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command import run_command
from numpy.typing import NDArray
from tiny_guard import LEVELS, guarded_file, noisy, tiny_guard
from tiny_metadata import plain_image, tiny_file
from tiny_model import COLOURS

from qlvit_edge.guard.statement import CELLS_NEEDED
from qlvit_edge.modelfile.guard import Guard


@pytest.fixture(scope="module")
def guard() -> Guard:
    return tiny_guard()


@pytest.fixture
def model(tmp_path: Path, guard: Guard) -> Path:
    return guarded_file(tmp_path / "tiny.tflite", guard)


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Images as the model knows them: one folder per class."""
    rng = np.random.default_rng(11)
    for name in COLOURS:
        for level in LEVELS[::3]:
            path = tmp_path / "cells" / name / f"{level}.png"
            write(path, noisy(plain_image(name, level=level), rng))
    return tmp_path / "cells"


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Images of another microscope, as it were."""
    rng = np.random.default_rng(12)
    for number in range(CELLS_NEEDED):
        image = np.full((8, 8, 3), 120, np.uint8)
        write(tmp_path / "grey" / f"{number}.png", noisy(image, rng))
    return tmp_path / "grey"


def summary_of(
    capfd: pytest.CaptureFixture[str], model: Path, camera: Path, out: Path
) -> tuple[dict[str, Any], str]:
    code = run_command("run", model, "--camera", camera, "--out", out, "--find", "none", "--json")
    shown = capfd.readouterr()
    assert code == 0
    return json.loads(shown.out), shown.err


def listed(path: Path) -> tuple[Any, ...]:
    query = "SELECT accepted_cells, familiar, statement FROM run_list ORDER BY run DESC"
    with closing(sqlite3.connect(path)) as connection:
        row: tuple[Any, ...] = connection.execute(query).fetchone()
    return row


def test_a_run_says_whether_its_images_are_known_ones(
    model: Path, cells: Path, grey: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    few, _ = summary_of(capfd, model, cells / "RED", out)
    assert (few["familiar"], few["verdicts"]["accepted"]) == (None, few["cells"])
    assert "accepted answers are provisional" in few["warning"]
    assert listed(out)[:2] == (few["cells"], "not known")
    for name in COLOURS:
        for path in (cells / name).iterdir():
            path.rename(cells / f"{name} {path.name}")
    known, _ = summary_of(capfd, model, cells, out)
    assert (known["familiar"], known["warning"]) == (True, None)
    assert listed(out)[1] == "yes"
    other, _ = summary_of(capfd, model, grey, out)
    assert other["familiar"] is False
    assert other["verdicts"]["foreign image"] == other["cells"] == CELLS_NEEDED
    assert "do not rely on accepted answers" in other["warning"]
    assert listed(out) == (0, "no", other["statement"])


def test_the_end_of_a_run_and_of_a_list_warns(
    model: Path, grey: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    assert run_command("run", model, "--camera", grey, "--out", out, "--find", "none") == 0
    shown = capfd.readouterr()
    assert "images: not the images that the model was made for" in shown.out
    assert "warning: do not rely on accepted answers" in shown.err
    assert run_command("predict", grey, "--model", model) == 0
    assert "warning: do not rely on accepted answers" in capfd.readouterr().err


def test_a_file_without_a_guard_says_so_once(
    cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare, out = tiny_file(tmp_path / "bare.tflite"), tmp_path / "r.sqlite"
    summary, said = summary_of(capfd, bare, cells / "RED", out)
    assert (summary["familiar"], summary["statement"]) == (None, None)
    assert "no guard" in summary["warning"]
    assert said.count("no guard") == 1
    assert listed(out) == (summary["cells"], "not known", summary["warning"])
    assert run_command("predict", cells / "RED", "--model", bare) == 0
    assert capfd.readouterr().err.count("no guard") == 1


def test_validate_tells_unknown_cells_from_known_ones(
    model: Path, cells: Path, grey: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ("--data", cells, "--unknown", grey, "--out", out, "--one-view")
    assert run_command("validate", model, *arguments) == 0
    report = json.loads((out / "report.json").read_text())
    accepted = report["guarding"]["verdicts"]["accepted"]
    assert 30 <= accepted <= report["data"]["images"] == 33
    assert report["statement"]["familiar"] is True
    assert report["guarding"]["unknown_verdicts"]["foreign image"] == CELLS_NEEDED
    assert report["guarding"]["unknown_auc"] == 1.0
    assert report["acceptance"]["unknown_by_folder"] == {"grey": [CELLS_NEEDED, 0]}
    assert report["guarding"]["risk_coverage"][-1] == {"coverage": 1.0, "risk": 0.0}
    shown = capfd.readouterr().out
    assert "of unknown cells: 30 foreign image; AUROC 1.000" in shown
    assert f"By its guard {accepted} of 33 answers are accepted" in shown
    assert "Risk by coverage" in (out / "index.html").read_text()
    # The same in folders, and a folder that is not there.
    (grey / "smudges").mkdir()
    for path in list(grey.glob("*.png")):
        path.rename(grey / "smudges" / path.name)
    assert run_command("validate", model, *arguments) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["acceptance"]["unknown_by_folder"] == {"smudges": [CELLS_NEEDED, 0]}
    missing = ("--data", cells, "--unknown", tmp_path / "nowhere", "--out", out)
    assert run_command("validate", model, *missing) == 2
