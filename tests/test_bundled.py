"""Bundled names resolve; bundled images are small, licensed, decodable and labelled."""

from __future__ import annotations

import json
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
    (tmp_path / "no models").mkdir()
    monkeypatch.setenv(bundled.MODELS_VARIABLE, str(tmp_path / "no models"))
    return tmp_path


@pytest.fixture
def repository(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository's folder of models: one of its own, and one called like the package's."""
    models = tmp_path / "a checkout" / "models"
    for name in ("large", "cells"):
        (models / name).mkdir(parents=True)
        (models / name / f"{name}.tflite").write_bytes(b"large")
        (models / name / "run.json").write_text("{}")
    monkeypatch.setenv(bundled.MODELS_VARIABLE, str(models))
    return models


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


def test_a_file_or_folder_of_a_models_name_is_not_guessed_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "cells").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ModelFileError, match=r"of a folder here; write \./cells for the folder"):
        bundled.resolve_model("cells")
    (elsewhere / "cells").rmdir()
    (elsewhere / "cells").write_bytes(b"mine")
    with pytest.raises(ModelFileError, match=r"of a file here; write \./cells for the file"):
        bundled.resolve_model("cells")
    assert bundled.resolve_model("./cells").read_bytes() == b"mine"
    monkeypatch.chdir(folder)  # where `cells` is the model's own folder
    assert bundled.resolve_model("cells") == folder / "cells" / "cells.tflite"
    assert bundled.resolve_run("cells") == folder / "cells"


def test_models_of_the_repository_have_names_too(repository: Path, folder: Path) -> None:
    assert bundled.all_names() == ("cells", "large")
    assert bundled.names() == ("cells",)
    assert bundled.resolve_model("large") == repository / "large" / "large.tflite"
    assert bundled.resolve_run("large") == repository / "large"
    assert bundled.resolve_model("cells") == folder / "cells" / "cells.tflite"  # the package's own
    assert bundled.resolve_run("cells") == folder / "cells"
    assert (bundled.is_named("large"), bundled.is_bundled("large")) == (True, False)
    with pytest.raises(CheckpointError, match=r"\(cells, large\), did you mean 'large'\?"):
        bundled.resolve_run("larg")
    with pytest.raises(ModelFileError, match=r"\(cells, large\), did you mean 'large'\?"):
        bundled.resolve_model("larg")


def test_the_variable_must_name_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bundled.MODELS_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(ModelFileError, match=r"QLVIT_EDGE_MODELS: .*missing is no folder"):
        bundled.resolve_model("large")


@pytest.mark.parametrize("there", [True, False])
def test_an_installation_from_a_checkout_finds_its_models(
    there: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip records it; anywhere else the error says where the models are."""
    monkeypatch.delenv(bundled.MODELS_VARIABLE)
    checkout = tmp_path / "a check out µ"
    (checkout / ("models" if there else "other") / "large").mkdir(parents=True)
    (checkout / ("models" if there else "other") / "large" / "run.json").write_text("{}")

    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return json.dumps({"url": checkout.as_uri(), "dir_info": {}})

    monkeypatch.setattr(bundled.metadata, "distribution", lambda name: Distribution())
    assert bundled.all_names() == (("cells", "large") if there else ("cells",))
    if there:
        assert bundled.resolve_run("large") == checkout / "models" / "large"
    else:
        with pytest.raises(CheckpointError, match=r"more lie in the folder `models` of the repos"):
            bundled.resolve_run("large")


def test_bundled_run_without_a_model_file_is_a_run_only(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    assert bundled.names() == ("cells", "run")
    assert bundled.resolve_run("run") == folder / "run"
    with pytest.raises(ModelFileError, match="holds no model file; convert it: qlvit-edge convert"):
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
