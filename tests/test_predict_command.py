"""`predict` lists every image with the answer `Classifier` gives, and says what it cannot read."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import cv2
import pytest
from command import refused, run_command
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import Classifier, bundled
from qlvit_edge.cli.predict import DEFAULT_MODEL
from qlvit_edge.microscope.prediction import csv_text
from qlvit_edge.modelfile.metadata import embed


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Two images in a folder, one below it; the grey one is not sure."""
    root = tmp_path / "cells"
    (root / "below").mkdir(parents=True)
    for name, image in (
        ("a red.png", plain_image("RED", size=20)),
        ("b grey.png", plain_image("RED", level=32)),
        ("below/c blue.png", plain_image("BLUE", size=33)),
    ):
        cv2.imwrite(str(root / name), image[:, :, ::-1])
    (root / "notes.txt").write_text("no image")
    return root


def test_lines_for_people(model: Path, cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", cells, "--model", model) == 0
    output = capsys.readouterr()
    red, grey, blue, *rest = output.out.splitlines()
    assert red.split()[-3:] == ["RED", "100.0%", "accepted"]
    assert red.startswith(f"{cells / 'a red.png'} ")
    assert grey.endswith("not sure")
    assert blue.split()[-3:] == ["BLUE", "100.0%", "accepted"]
    assert rest[0] == "3 images: 2 accepted, 1 not sure"
    assert "research use only" in output.err
    assert "\x1b" not in output.err


def test_csv_is_rfc_4180_with_a_header(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cells / "a red.png").rename(cells / 'a "red", x.png')
    assert run_command("predict", cells, "--model", model, "--csv", "--top", 9) == 0
    text = capsys.readouterr().out
    assert text.count("\r\n") == text.count("\n") == 4
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [row["label"] for row in rows] == ["RED", "RED", "BLUE"]
    assert rows[0]["file"] == str(cells / 'a "red", x.png')
    assert [row["verdict"] for row in rows] == ["accepted", "uncertain", "accepted"]
    assert {"label_2", "probability_3"} <= set(rows[0])
    assert "label_4" not in rows[0]  # the model knows three
    total = sum(float(rows[1][f"probability{end}"]) for end in ("", "_2", "_3"))
    assert total == pytest.approx(1, abs=1e-5)


def test_answers_are_those_of_the_classifier(
    model: Path, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("predict", cells, "--model", model, "--json", "--top", 3) == 0
    records = json.loads(capsys.readouterr().out)
    classifier = Classifier(model)
    for record in records:
        answer = classifier.classify(record["file"])
        assert (record["label"], record["probability"]) == (answer.label, answer.probability)
        assert record["verdict"] == answer.verdict
        listed = {entry["label"]: entry["probability"] for entry in record["top"]}
        assert listed == answer.probabilities
        assert [entry["probability"] for entry in record["top"]] == sorted(
            listed.values(), reverse=True
        )
    for name in ("answers.json", "answers.csv"):
        assert run_command("predict", cells, "--model", model, "--out", tmp_path / name) == 0
    assert len(json.loads((tmp_path / "answers.json").read_text())) == 3
    assert (tmp_path / "answers.csv").read_text().startswith("file,cell,label")


def test_the_threshold_decides_what_is_accepted(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("predict", cells, "--model", model, "--accept-at", 0) == 0
    assert "3 images: 3 accepted, 0 not sure" in capsys.readouterr().out


def test_damaged_images_are_listed_and_the_others_are_answered(
    model: Path, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = (cells / "a red.png").read_bytes()
    (cells / "a cut.png").write_bytes(image[: len(image) // 2])
    out = tmp_path / "list.csv"
    assert run_command("predict", cells, "--model", model, "--out", out) == 1
    assert "error: images: 1 of 4 could not be read; " in capsys.readouterr().err
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["label"] for row in rows] == ["", "RED", "RED", "BLUE"]
    assert "truncated" in rows[0]["remark"]
    assert run_command("predict", cells, "--model", model) == 1
    assert (
        f"{cells / 'a cut.png'}  cannot be read: image file is truncated" in capsys.readouterr().out
    )
    assert run_command("predict", cells, "--model", model, "--json") == 1
    assert json.loads(capsys.readouterr().out)[0]["label"] is None


def test_cells_of_a_field_have_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    field = next(iter(sorted(bundled.FIELDS.glob("*.jpg"))))
    assert run_command("predict", field, "--find-cells", "--json") == 0
    (record, *_) = json.loads(capsys.readouterr().out)
    assert record["label"] in Classifier(DEFAULT_MODEL).labels
    assert set(record["box"]) == {"x", "y", "width", "height"}
    assert run_command("predict", field, "--find-cells") == 0
    assert "cell 1" in capsys.readouterr().out


def test_an_image_without_cells_is_said(
    model: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("predict", cells / "a red.png", "--model", model, "--find-cells") == 0
    output = capsys.readouterr().out
    assert "no cell found" in output
    assert "1 without a cell" in output


def test_names_and_labels_are_no_formulas_in_a_spreadsheet(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = dict(zip(("=1+1", "-b", "c"), COLOURS.values(), strict=True))
    data = metadata(golden=False).model_copy(update={"labels": list(weights)})
    model = tmp_path / "formula.tflite"
    model.write_bytes(embed(tiny_model(classes=weights), data))
    monkeypatch.chdir(tmp_path)
    shutil.copy(cells / "below" / "c blue.png", "=cmd.png")
    assert run_command("predict", "=cmd.png", "--model", model, "--csv", "--top", 3) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert row["file"] == "./=cmd.png"
    assert Path(row["file"]).is_file()
    assert row["label"] == "'=1+1"
    assert "'-b" in (row["label_2"], row["label_3"])
    assert csv_text([["a\nb", 'c"d']]) == '"a\nb","c""d"\r\n'


def test_unusual_images_are_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "g.png"), plain_image("RED")[:, :, 0])
    assert run_command("predict", tmp_path / "g.png", "--model", model) == 0
    assert "1 grey; taken as 8-bit RGB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (("none.png",), "none.png: no such file or folder"),
        (("empty",), "the folder holds no image"),
        (("wbc.tflite", "a.png"), "wbc.tflite: is a model, not an image; write --model wbc.tflite"),
        (("a.png", "--model", "wbc-huge"), "no such model file"),
        (("a.png", "--out", "empty"), "empty"),
        (("a.png", "--out", "a.png/below/x.csv", "--model", "wbc-huge"), "Not a directory"),
        (("a.png", "--out", "a.png"), "a.png: is no name for a list; name a .csv, .json"),
        (("a.png", "--out", "none/a.csv"), "none/a.csv: its folder does not exist; make none"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    finding: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    cv2.imwrite("a.png", plain_image("RED"))
    assert finding in refused(capfd, "predict", *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "empty"]


def test_two_formats_are_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("predict", model, "--csv", "--json") == 2
    assert "choose one" in capsys.readouterr().err
    assert run_command("predict", model, "--csv", "--out", "list.json") == 2
    assert "--csv and --out list.json: choose one" in capsys.readouterr().err
