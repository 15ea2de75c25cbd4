"""`qlvit-edge reference` as a user meets it, on the bundled fields."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import refused, run_command

from qlvit_edge.bundled import FIELDS
from qlvit_edge.camera.base import Frame
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.microscope.pipeline import Pipeline
from qlvit_edge.preprocess import decode
from qlvit_edge.reference.reference_set import LabelledCell, table_text
from qlvit_edge.review.store import ReviewStore

NAMES = ("BloodImage_00010.jpg", "BloodImage_00195.jpg")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundled fields, labelled as the model calls their cells but for one."""
    folder = tmp_path_factory.mktemp("made")
    rows = []
    with Classifier("blood-nano") as classifier:
        pipeline = Pipeline(classifier)
        for name in NAMES:
            shutil.copyfile(FIELDS / name, folder / name)
            for one in pipeline.process(Frame(decode(FIELDS / name), 0, 0.0, name)):
                box = one.cell.x, one.cell.y, one.cell.width, one.cell.height
                rows.append((name, LabelledCell(box, one.classification.label)))
    rows[-1] = rows[-1][0], LabelledCell(rows[-1][1].box, "monocyte")
    (folder / "cells.csv").write_text(table_text(rows), encoding="utf-8")
    return folder


@pytest.fixture
def slide(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "slide"))


def test_check_history_chart_and_a_change(slide: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("reference", "check", "blood-nano", slide) == 0
    said = capfd.readouterr().out
    assert "cells located: 4 of 4 (100.0%, 95 % interval 39.8 to 100.0 %)" in said
    assert "called as people do, of the located: 3 of 4 (75.0%" in said
    assert "limits: provisional, learnt from 0 of 20 earlier checks" in said
    assert "as usual" in said
    assert "since the first day" not in said
    assert (slide / "history.html").read_text().startswith("<!doctype html>")
    first = json.loads((slide / "history.jsonl").read_text())
    first["measures"]["red"] -= 2
    (slide / "history.jsonl").write_text(json.dumps(first) + "\n")
    assert run_command("reference", "check", "blood-nano", slide) == 0
    said = capfd.readouterr().out
    assert f"since the first day, {first['at'][:10]}: red +2.0, green +0.0, " in said
    options = ("--kernels", "reference", "--json")
    assert run_command("reference", "check", "blood-nano", slide, *options) == 1
    told = json.loads(capfd.readouterr().out)
    assert told["passed"] is False
    assert [text[:20] for text in told["warnings"]] == ["the kernels changed:"]
    assert (told["located"], told["limits_learnt_from"], told["damaged_lines"]) == (4, 0, [])
    (slide / "history.html").unlink()
    assert run_command("reference", "history", slide) == 0
    assert "stored fields" in capfd.readouterr().out
    assert (slide / "history.html").is_file()


def test_the_slide_under_a_camera(slide: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A folder as camera, until there are enough cells."""
    command = ("reference", "check", "blood-nano", slide, "--camera", FIELDS, "--json")
    assert run_command(*command, "--cells", 5) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["frames"] < 9
    assert sum(told["camera_counts"].values()) >= 5
    assert told["probability"] is None  # the two stored fields hold fewer than five whole cells
    assert told["camera"]
    assert told["measures"]["white level"] > 150


def test_a_cell_that_is_gone_and_a_class_that_the_model_lacks(
    slide: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = (slide / "cells.csv").read_text(encoding="utf-8")
    more = f"{NAMES[0]},0,0,30,30,neutrophil\n{NAMES[0]},90,0,30,30,blast\n"
    (slide / "cells.csv").write_text(table + more, encoding="utf-8")
    assert run_command("reference", "check", "blood-nano", slide) == 0
    said = capfd.readouterr().out
    assert "cells located: 4 of 6" in said
    assert "called as people do, of the located: 3 of 4" in said
    assert "blast: 1 cell, a class that the model lacks" in said


def test_a_damaged_line_is_told_and_fails(slide: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("reference", "check", "blood-nano", slide) == 0
    with (slide / "history.jsonl").open("ab") as stream:
        stream.write(b"{broken\n")
    assert run_command("reference", "history", slide) == 1
    assert "line 2 is damaged" in capfd.readouterr().err


def test_bad_input(slide: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check = ("reference", "check", "blood-nano")
    assert "no such folder" in refused(capfd, *check, tmp_path / "gone")
    assert "holds no check" in refused(capfd, "reference", "history", slide)
    assert "nosuch" in refused(capfd, "reference", "check", "nosuch.tflite", slide)
    table = slide / "cells.csv"
    before = table.read_bytes()
    assert "is read by this command" in refused(capfd, *check, slide, "--history", table)
    assert table.read_bytes() == before
    table.write_bytes(before.replace(b",neutrophil", b","))
    assert "has no label" in refused(capfd, *check, slide)
    table.write_text(f"{before.decode()}{NAMES[0]},600,400,300,300,neutrophil\n", encoding="utf-8")
    assert "reaches beyond its 640x480 pixels" in refused(capfd, *check, slide)
    table.write_bytes(before)
    assert run_command(*check, slide, "--calibration", "x.toml") == 2
    assert "no such camera" in refused(capfd, *check, slide, "--camera", "nonsense")
    cv2.imwrite(str(slide / NAMES[0]), np.zeros((480, 640), np.uint8))
    (slide / NAMES[0]).write_bytes((slide / NAMES[0]).read_bytes()[:-200])
    assert NAMES[0] in refused(capfd, *check, slide)
    assert not (slide / "history.jsonl").exists()


def test_make_from_an_unsigned_run_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from reviewed_run import found, sign_run, write_run

    keep = tmp_path / "kept"
    keep.mkdir()
    results = tmp_path / "r.sqlite"
    write_run(results, [found()], keep=keep)
    make = ("reference", "make", results, "--out", tmp_path / "set", "--by", "Ann")
    assert "is not signed" in refused(capfd, *make)
    assert not (tmp_path / "set").exists()
    sign_run(results)
    assert run_command(*make) == 0
    assert "RED: 1 cell" in capfd.readouterr().out
    assert (tmp_path / "set" / "cells.csv").is_file()


def test_a_run_that_is_signed_anew_meanwhile_is_no_reference(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewed_run import found, sign_run, write_run

    results = tmp_path / "r.sqlite"
    write_run(results, [found()], keep=tmp_path)
    sign_run(results)

    def table_slowly(rows: list[tuple[str, LabelledCell]]) -> str:
        with ReviewStore(results) as store:
            store.reopen(1, reason="wrong slide", by="Ann")
        sign_run(results, by="Bob")
        return table_text(rows)

    monkeypatch.setattr("qlvit_edge.reference.making.table_text", table_slowly)
    make = ("reference", "make", results, "--out", tmp_path / "set", "--by", "Ann")
    assert "was changed meanwhile" in refused(capfd, *make)
    assert not (tmp_path / "set").exists()
