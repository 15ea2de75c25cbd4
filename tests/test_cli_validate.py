"""`validate` measures rightly, says what it did, and leaves a page that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import bundled
from qlvit_edge.cli import main
from qlvit_edge.data.folder import scan
from qlvit_edge.evaluation import validation
from qlvit_edge.evaluation.answers import View
from qlvit_edge.evaluation.image_set import gather
from qlvit_edge.evaluation.measured_model import open_model
from qlvit_edge.evaluation.validation_text import NO_GUARD
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.modelfile.metadata import embed

PER_CLASS = 4


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Four images a colour; one RED image is green."""
    root = tmp_path / "cells"
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            shown = "GREEN" if (label, number) == ("RED", 2) else label
            image = plain_image(shown, size=20 + number, level=150 + 20 * number)
            cv2.imwrite(str(root / label / f"<{number}>.png"), image[:, :, ::-1])
    return root


def _validate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["validate", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def _report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def test_figures_are_those_counted_by_hand(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    assert _validate(model, "--data", cells, "--out", out, "--accept-at", 1) == 0
    report = _report(out)
    assert report["accuracy"] == pytest.approx(11 / 12)
    assert list(report["views"]) == ["whole_image", "cell_crop"]
    assert report["classes"]["RED"]["recall"] == 0.75
    assert report["classes"]["GREEN"]["precision"] == 0.8
    assert report["macro"]["recall"] == pytest.approx(11 / 12)
    assert report["confusion"]["counts"] == [[4, 0, 0], [0, 4, 0], [0, 1, 3]]
    assert report["classes"]["BLUE"]["auc"] == 1.0
    assert report["classes"]["RED"]["auc"] < 1.0
    (mistake,) = report["mistakes"]
    assert (mistake["image"], mistake["predicted"]) == ("RED/<2>.png", "GREEN")
    assert report["golden"]["equal"] == 3
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["memory_bytes"]["peak"] > 10_000_000
    assert report["gate"] is None
    assert report["acceptance"]["known_accepted"] == 12  # exactly 1.0 reaches a threshold of 1
    assert report["acceptance"]["known_accepted_right"] == 11
    output = capsys.readouterr().out
    for text in ("91.67 %", "every image of the folder", "basophils, bands, blasts", "research"):
        assert text in output


@pytest.mark.parametrize(
    ("gate", "code"), [("91", 0), ("92", 1), ("0.92", 0), ("101", 2), ("-1", 2)]
)
def test_gate_decides_the_exit_code_and_the_report_is_written(
    gate: str, code: int, cells: Path, tmp_path: Path
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    assert _validate(model, "--data", cells, "--out", out, "--min-accuracy", gate) == code
    assert (out / "report.json").exists() == (code != 2)
    if code != 2:
        assert _report(out)["gate"]["passed"] is (code == 0)
        files = ["index.html", "predictions.json", "report.json"]
        assert sorted(path.name for path in out.iterdir()) == files


def test_split_chooses_its_test_side_and_draws_over_sources(cells: Path, tmp_path: Path) -> None:
    from qlvit_edge.data.split import grouped_split

    folder = scan(cells)
    groups = {image.relative: f"source {i // 2}" for i, image in enumerate(folder.images)}
    split = grouped_split(folder, 0.5, 0, groups)
    (tmp_path / "split.json").write_text(split.model_dump_json())
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    split_file = tmp_path / "split.json"
    assert _validate(model, "--data", cells, "--out", out, "--split", split_file) == 0
    report = _report(out)
    assert report["data"]["images"] == len(split.test) == 6
    assert report["interval_drawn_over"] == "3 sources"
    assert report["notes"] == [NO_GUARD]
    assert report["data"]["split_of_training"] is None
    assert report["data"]["whole_test_side"] is True
    assert [check["text"] for check in report["checks"] if check["name"] == "images"] == [
        "the file does not say which split it was trained with"
    ]


def test_a_split_other_than_the_training_one_is_noted(cells: Path, tmp_path: Path) -> None:
    from qlvit_edge.data.split import stratified_split

    own, other = (stratified_split(scan(cells), 0.5, seed) for seed in (0, 1))
    assert own.fingerprint != other.fingerprint
    data = metadata().model_copy(update={"split_fingerprint": own.fingerprint})
    model, split_file = tmp_path / "tiny.tflite", tmp_path / "split.json"
    model.write_bytes(embed(tiny_model(), data))
    for split, same in ((own, True), (other, False)):
        split_file.write_text(split.model_dump_json())
        out = tmp_path / f"report {same}"
        assert _validate(model, "--data", cells, "--out", out, "--split", split_file) == 0
        report = _report(out)
        assert report["data"]["split_of_training"] is same
        said = "another split than the model was trained with" in report["verdict"]["sentence"]
        assert said is not same
        state = {check["name"]: check["state"] for check in report["checks"]}["images"]
        assert state == ("passed" if same else "warning")


def test_unusual_images_are_noted(cells: Path, tmp_path: Path) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    cv2.imwrite(str(cells / "RED" / "<0>.png"), np.full((20, 20), 90, np.uint8))
    cv2.imwrite(str(cells / "RED" / "<1>.png"), np.full((20, 20, 4), 30_000, np.uint16))
    assert _validate(model, "--data", cells, "--out", out) == 0
    report = _report(out)
    assert report["data"]["unusual"] == {"16 bit": 1, "alpha": 1, "grey": 1}
    expected = "Among the images are 1 16 bit, 1 alpha, 1 grey; taken as 8-bit RGB."
    assert expected in report["notes"]


@pytest.mark.parametrize("floating", [True, False])
def test_probabilities_of_a_file_that_ends_in_a_softmax_are_taken_as_they_are(
    floating: bool, cells: Path, tmp_path: Path
) -> None:
    for label in COLOURS:  # weak colours: probabilities that a second softmax would change
        for number in range(PER_CLASS):
            image = np.full((20, 20, 3), 120, np.uint8)
            image[:, :, ["RED", "GREEN", "BLUE"].index(label)] = 123
            cv2.imwrite(str(cells / label / f"<{number}>.png"), image[:, :, ::-1])
    shown = {}
    for softmax in (False, True):
        model = tmp_path / f"softmax {softmax}.tflite"
        model.write_bytes(tiny_model(floating=floating, softmax=softmax))
        opened = open_model(model)
        assert opened.gives_probabilities is softmax
        _, (answers,) = validation.validate(
            opened,
            gather(opened, cells, None, class_map={}, allow_unknown=False),
            kernels=Kernels.BUILTIN,
            runtime="litert",
            views=[View.WHOLE],
            accept_at=0.8,
            advance=lambda: None,
        )
        shown[softmax] = np.array([answer.probabilities for answer in answers.known])
    assert 0.9 < shown[False].max() < 0.99
    # The integer file gives probabilities in steps of 1/256.
    assert shown[True] == pytest.approx(shown[False], abs=1e-6 if floating else 1 / 256)
    out = tmp_path / "report"
    assert _validate(model, "--data", cells, "--out", out) == 0
    assert any("ends in a softmax" in note for note in _report(out)["notes"])


def test_float_file_is_measured_and_said(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_file(tmp_path / "float.tflite", floating=True, with_metadata=False)
    out = tmp_path / "report"
    assert _validate(model, "--data", cells, "--out", out) == 0
    report = _report(out)
    assert report["accuracy"] == pytest.approx(11 / 12)
    assert report["model"]["integer_only"] is False
    assert report["golden"]["compared"] == 0
    output = capsys.readouterr().out
    assert "Not an integer model: 8 float tensors" in output
    assert "does not say which cells" in output


def test_crops_of_the_finder_and_images_without_cells(tmp_path: Path) -> None:
    """Bundled fields hold cells; a plain image holds none and counts as wrong."""
    root = tmp_path / "cells"
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for field in sorted(bundled.FIELDS.glob("*.jpg"))[:1]:
            (root / label / field.name).write_bytes(field.read_bytes())
        cv2.imwrite(str(root / label / "plain.png"), np.full((60, 80, 3), 220, np.uint8))
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    assert _validate(model, "--data", root, "--out", out, "--find-cells") == 0
    report = _report(out)
    assert report["data"]["without_cell"] == 3
    assert report["accuracy"] == pytest.approx(1 / 6)
    assert report["confusion"]["columns"][-1] == "(no cell found)"
    assert list(report["views"]) == ["cell_crop", "whole_image"]
    assert report["views"]["cell_crop"]["quality"]["accuracy"] == report["accuracy"]
    assert report["views"]["whole_image"]["without_cell"] == 0
    assert [row[-1] for row in report["confusion"]["counts"]] == [1, 1, 1]
    assert "No cell was found in 3 images" in (out / "index.html").read_text()


def test_bundled_model_measures_itself_on_the_bundled_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {path.name: len(list(path.iterdir())) for path in bundled.CROPS.iterdir()}
    weights = dict.fromkeys((name.upper() for name in sorted(folders, reverse=True)), (1, 2, 3))
    del weights["BASOPHIL"]
    data = metadata(golden=False).model_copy(update={"labels": list(weights)})
    (tmp_path / "cells").mkdir()
    model = tmp_path / "cells" / "cells.tflite"
    model.write_bytes(embed(tiny_model(classes=weights), data))
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    assert _validate("cells", "--out", tmp_path / "report") == 0
    assert "bundled crops were measured" in capsys.readouterr().out
    data, unknown = _report(tmp_path / "report")["data"], folders.pop("basophil")
    assert data["classes"] == {name: folders[name.lower()] for name in weights}
    assert data["unknown"] == {"basophil": unknown}


class _Page(HTMLParser):
    """Collects tags and what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_page_needs_nothing_else_and_escapes_what_it_shows(cells: Path, tmp_path: Path) -> None:
    data = metadata().model_copy(update={"name": "<script>alert(1)</script>"})
    model, out = tmp_path / "tiny.tflite", tmp_path / "report"
    model.write_bytes(embed(tiny_model(), data))
    assert _validate(model, "--data", cells, "--out", out) == 0
    text = (out / "index.html").read_text()
    page = _Page(text)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert len(page.links) == 1  # one mistake
    assert page.tags.count("svg") == 2 * 4 + 1  # whole images, crops, latency
    assert all(link.startswith("data:image/") for link in page.links)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "RED/&lt;2&gt;.png" in text
    for phrase in ("research use only", "basophils, bands, blasts", "golden pairs", "viewport"):
        assert phrase in text


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("rename", "the model does not know PINK and there is no folder RED"),
        ("all corrupt", "no image can be read"),
        ("only unknown classes", "no folder stands for a class"),
        ("no folder", "no such folder"),
        ("no data", "give a folder with --data"),
        ("random model", "identifier TFL3"),
        ("split of other images", "the split names"),
        ("report is a file", "report"),
        ("no tflite-runtime", "pip install tflite-runtime"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    change: str,
    finding: str,
    cells: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "report"
    arguments: list[object] = [model, "--data", cells, "--out", out]
    if change == "rename":
        (cells / "RED").rename(cells / "PINK")
    elif change == "all corrupt":
        for path in cells.glob("*/*.png"):
            path.write_bytes(b"no image")
    elif change == "only unknown classes":
        arguments += [part for label in COLOURS for part in ("--map", f"{label}=")]
    elif change == "no folder":
        arguments[2] = tmp_path / "nothing"
    elif change == "no data":
        del arguments[1:3]
    elif change == "random model":
        model.write_bytes(bytes(range(256)))
    elif change == "split of other images":
        from qlvit_edge.data.split import stratified_split

        split = stratified_split(scan(cells), 0.5, 0)
        (tmp_path / "split.json").write_text(split.model_dump_json())
        (cells / "RED" / "<0>.png").unlink()
        arguments += ["--split", tmp_path / "split.json"]
    elif change == "report is a file":
        out.write_text("mine")
    else:
        monkeypatch.setitem(__import__("sys").modules, "tflite_runtime.interpreter", None)
        arguments += ["--runtime", "tflite-runtime"]
    assert _validate(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert finding in captured.err
    assert not (out / "report.json").exists()
    assert not (out / "index.html").exists()
