"""Bundled names resolve; bundled images are small, licensed, decodable and labelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlvit_edge import bundled
from qlvit_edge.errors import CheckpointError, ModelFileError
from qlvit_edge.preprocess import decode

CLASSES = ["basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil", "platelet"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with one bundled model, `cells`."""
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "cells.tflite").write_bytes(b"model")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    return tmp_path


def test_bundled_name_means_the_bundled_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundled.names() == ("cells",)
    assert bundled.resolve_model("cells") == folder / "cells" / "cells.tflite"
    assert bundled.resolve_run("cells") == folder / "cells"
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "cells").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    with pytest.raises(CheckpointError, match=r"write \./cells"):
        bundled.resolve_run("cells")
    assert bundled.resolve_run("./cells") == Path("cells")


def test_bundled_run_without_a_model_file_is_a_run_only(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    assert bundled.names() == ("cells", "run")
    assert bundled.resolve_run("run") == folder / "run"
    with pytest.raises(ModelFileError, match=r"no such model file.*bundled model \(cells\)"):
        bundled.resolve_model("run")


def test_paths_mean_themselves(folder: Path) -> None:
    model = folder / "cells" / "cells.tflite"
    assert bundled.resolve_model(str(model)) == model
    assert bundled.resolve_run(str(model.parent)) == model.parent


@pytest.mark.parametrize("name", ["cell", "", "no/such/file.tflite"])
def test_unknown_names_list_what_is_bundled(folder: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=r"bundled model \(cells\)"):
        bundled.resolve_model(name)
    if name:
        with pytest.raises(CheckpointError, match=r"bundled model \(cells\)"):
            bundled.resolve_run(name)


def test_file_and_folder_are_not_confused(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="a folder, not a model file"):
        bundled.resolve_model(folder)
    with pytest.raises(CheckpointError, match="a file, not a run folder"):
        bundled.resolve_run(folder / "cells" / "cells.tflite")


def test_fields_are_small_photographs() -> None:
    fields = sorted(bundled.FIELDS.glob("*.jpg"))
    assert 6 <= len(fields) <= 10
    for field in fields:
        assert field.stat().st_size < 50_000
        assert decode(field).shape == (480, 640, 3)


def test_crops_cover_every_class_and_stay_small() -> None:
    assert sorted(folder.name for folder in bundled.CROPS.iterdir()) == CLASSES
    assert sum(path.stat().st_size for path in bundled.CROPS.rglob("*.png")) < 2_000_000
    for name in CLASSES:
        crops = sorted((bundled.CROPS / name).glob("*.png"))
        assert crops
        for crop in crops:
            height, width, _ = decode(crop).shape
            assert height == width


def test_every_crop_is_attributed() -> None:
    text = (bundled.FOLDER / "ATTRIBUTION.md").read_text()
    for crop in bundled.CROPS.rglob("*.png"):
        assert f"`crops/{crop.parent.name}/{crop.name}`" in text
    assert "MIT License" in (bundled.FOLDER / "LICENSE-BCCD.txt").read_text()
