"""`explain`: pictures, one page and a list, of model files, of runs, and of both."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command import files_below, refused, run_command
from mini_chain import mini_chain
from small_run import CLASSES, cell_image, small_config, write_folder, write_run
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import bundled
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.metadata import embed


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


def _write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)
    path.write_bytes(content.tobytes())
    return path


def _listed(out: Path) -> Any:
    return json.loads((out / "explanations.json").read_text())


def _picture(path: Path) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def test_pictures_page_and_list_of_odd_images(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = tmp_path / "my cells µ"
    red = plain_image("RED", size=33)
    red[:, :16] = plain_image("GREEN")[0, 0]
    _write(cells / "a réd.png", red[:20])
    _write(cells / "b grey.png", np.full((9, 31), 90, np.uint8))
    _write(cells / "c deep.png", np.full((40, 24, 3), (60000, 3000, 3000), np.uint16))
    (cells / "d broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    _write(cells / "below" / "a réd.png", plain_image("BLUE", size=5))
    out = tmp_path / "maps"
    assert run_command("explain", model, cells, "--out", out) == 1
    said = capsys.readouterr()
    assert "1 of 5 could not be read" in said.err
    assert "research use only" in said.err
    assert said.err.count("\n") <= 4
    listed = _listed(out)
    assert set(listed["sources"]) == {"integer file"}
    assert listed["sources"]["integer file"].endswith(sha256(model.read_bytes()))
    by_name = {Path(one["file"]).relative_to(cells).as_posix(): one for one in listed["images"]}
    assert by_name["d broken.png"]["answers"] == []
    assert by_name["d broken.png"]["picture"] is None
    assert by_name["d broken.png"]["error"]
    assert by_name["c deep.png"]["answers"][0]["label"] == "RED"
    assert by_name["below/a réd.png"]["answers"][0]["label"] == "BLUE"
    pictures = [one["picture"] for one in listed["images"] if one["picture"]]
    assert len(set(pictures)) == 4
    assert files_below(out) == {"index.html", "explanations.json", *pictures}
    height, width = _picture(out / by_name["a réd.png"]["picture"]).shape[:2]
    assert (height, width) == (116, 2 * 192 + 8)  # 20 × 33 at its own shape, twice
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 2 + 4  # how to read, not explained
    assert "a réd.png" in page
    assert "d broken.png" in page
    assert not re.search(r"https?:|src=\"(?!data:)|<script|<link", page)


def test_the_overlay_in_the_picture_is_where_the_class_is(model: Path, tmp_path: Path) -> None:
    image = plain_image("GREEN", size=40)[:, :20]
    image[24:32, 2:8] = plain_image("RED")[0, 0]
    out = tmp_path / "maps"
    arguments = ("explain", model, _write(tmp_path / "c.png", image), "--out", out)
    assert run_command(*arguments, "--class", "RED") == 0
    (entry,) = _listed(out)["images"]
    (answer,) = entry["answers"]
    assert (answer["label"], answer["class"], answer["even"]) == ("GREEN", "RED", False)
    assert np.array(answer["map"]).shape == (8, 8)
    drawn = _picture(out / entry["picture"])
    half = (drawn.shape[1] - 8) // 2
    left, right = drawn[:, :half].astype(int), drawn[:, -half:].astype(int)
    row, column = np.unravel_index(np.abs(right - left).sum(2).argmax(), left.shape[:2])
    assert 24 <= row * 40 / drawn.shape[0] <= 32
    assert 2 <= column * 20 / half <= 8


def test_a_class_that_is_none_is_refused_before_any_work(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = _write(tmp_path / "c.png", plain_image("RED"))
    capfd.readouterr()
    assert run_command("explain", model, image, "--class", "REED", "--out", tmp_path / "o") == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert "'REED' is no class of this network" in line
    assert "did you mean 'RED'" in line
    assert not (tmp_path / "o").exists()


def test_what_is_refused(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image, out = _write(tmp_path / "c.png", plain_image("RED")), tmp_path / "o"
    chain = tmp_path / "chain.zip"
    chain.write_bytes(mini_chain()[1])
    assert "chain.zip: a chain keeps" in refused(capfd, "explain", chain, image, "--out", out)
    assert "did you mean 'blood-nano'" in refused(
        capfd, "explain", "blood-nan", image, "--out", out
    )
    assert run_command("explain", model, model, "--out", out) == 2
    assert "is a model, not an image; name it before the images" in capfd.readouterr().err
    assert not out.exists()


def test_cells_of_a_field_are_explained_one_by_one(tmp_path: Path) -> None:
    data = metadata(golden=False)
    model = tmp_path / "tiny.tflite"
    model.write_bytes(embed(tiny_model(size=32), data.model_copy(update={"input_size": (32, 32)})))
    field, out = sorted(bundled.FIELDS.glob("*.jpg"))[0], tmp_path / "maps"
    assert run_command("explain", model, field, "--find-cells", "--out", out) == 0
    entries = _listed(out)["images"]
    assert [entry["cell"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry["box"]["width"] > 10 for entry in entries)
    assert entries[0]["picture"].endswith("-cell1.png")
    height, width = _picture(out / entries[0]["picture"]).shape[:2]
    assert width == 2 * height + 8  # crops are square


def test_a_run_needs_its_extra_and_a_name_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "captum" else find(name)
    )
    image = _write(tmp_path / "c.png", cell_image(0, 0))
    run = tmp_path / "tiny"
    write_run(run, write_folder(tmp_path / "data", 4), small_config())
    line = refused(capfd, "explain", run, image, "--out", tmp_path / "o")
    assert "needs captum, which is not installed; pip install 'qlvit-edge[explain]'" in line
    _made_of(run)
    assert "needs captum" in refused(capfd, "explain", run, image, "--out", tmp_path / "o")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path / "data")
    assert run_command("explain", "tiny", image, "--out", tmp_path / "o") == 0
    assert "note: no Grad-CAM of the checkpoint: " in capfd.readouterr().err
    assert set(_listed(tmp_path / "o")["sources"]) == {"integer file"}


def test_a_named_model_without_weights_is_explained_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "models" / "tiny"
    write_run(run, write_folder(tmp_path / "data", 4), small_config())
    _made_of(run)
    (run / "best.safetensors").unlink()
    monkeypatch.setenv(bundled.MODELS_VARIABLE, str(tmp_path / "models"))
    image = _write(tmp_path / "c.png", cell_image(0, 0))
    assert run_command("explain", "tiny", image, "--out", tmp_path / "o") == 0
    assert set(_listed(tmp_path / "o")["sources"]) == {"integer file"}


def _made_of(run: Path) -> Path:
    """A model file in a run folder that says it was made of its checkpoint."""
    digest = sha256((run / "best.safetensors").read_bytes())
    names = dict(zip(CLASSES, [*COLOURS.values(), (10, 10, 10)], strict=True))
    data = metadata(size=64, golden=False)
    data = data.model_copy(update={"labels": list(CLASSES), "checkpoint_sha256": digest})
    path = run / f"{run.name}.tflite"
    path.write_bytes(embed(tiny_model(size=64, classes=names), data))
    return path


def test_a_run_and_its_file_lie_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("captum")
    run, out = tmp_path / "run 1", tmp_path / "maps"
    write_run(run, write_folder(tmp_path / "data", 4), small_config())
    image = _write(tmp_path / "c.png", cell_image(1, 0))
    assert run_command("explain", run, image, "--out", out, "--class", "MONOCYTE") == 0
    ((only,),) = [entry["answers"] for entry in _listed(out)["images"]]
    assert (only["of"], only["method"], only["class"]) == ("checkpoint", "Grad-CAM", "MONOCYTE")
    assert only["verdict"] is None
    assert np.array(only["map"]).shape == (2, 2)
    shutil.copy(tiny_file(tmp_path / "a.tflite"), run / "another.tflite")
    (run / "a chain.tflite").write_bytes(mini_chain()[1])
    (run / "cut off.tflite").write_bytes(b"TFL")
    _made_of(run)
    assert run_command("explain", run, image, "--out", out) == 0
    said = capsys.readouterr().err
    assert "another.tflite: not made of this checkpoint, left out" in said
    assert "a chain.tflite: a chain has no class maps, left out" in said
    assert re.search(r"note: left out: .*cut off\.tflite: ", said)
    (entry,) = _listed(out)["images"]
    first, second = entry["answers"]
    assert (first["of"], second["of"]) == ("integer file", "checkpoint")
    assert second["class"] == first["class"] == first["label"]  # one class, whoever answers what
    drawn = _picture(out / entry["picture"])
    assert drawn.shape[:2] == (144, 3 * 192 + 2 * 8)  # 90 × 120
