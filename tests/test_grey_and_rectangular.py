"""Grey and rectangular input: the same bytes everywhere, and a model from training to `run`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import redirect_stdout
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command import refused, run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_run import CLASSES, cell_image, small_config, write_folder
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge import bundled
from qlvit_edge.calibration import collect
from qlvit_edge.data.augment import geometry
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.loader import (
    cache_images,
    cell_view,
    evaluation_batches,
    training_batches,
    whole_view,
)
from qlvit_edge.errors import ModelFileError
from qlvit_edge.evaluation.measured_model import open_model
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.model import configs
from qlvit_edge.modelfile.golden_pair import GoldenPair
from qlvit_edge.modelfile.metadata import ModelMetadata, embed, read_metadata
from qlvit_edge.preprocess import (
    GREY_PREPROCESSING,
    LUMINANCE,
    PREPROCESSING,
    decode,
    in_channels,
    load,
    luminance,
    preprocess,
    recipe,
)
from qlvit_edge.resample import resample

SIZE = (64, 96)


# -- the recipe -----------------------------------------------------------------------------


def test_each_number_of_channels_has_its_own_recipe() -> None:
    assert recipe(3) == PREPROCESSING == "rgb8-squash-triangle-v1"
    assert recipe(1) == GREY_PREPROCESSING == "grey8-squash-triangle-bt601-v1"
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        in_channels(np.zeros((2, 2, 3), np.uint8), 2)


def test_grey_keeps_its_value() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2)
    assert np.array_equal(luminance(greys), greys[..., :1])
    assert sum(LUMINANCE) == 1 << 16


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_luminance_is_the_weighted_sum_rounded_half_up(colour: tuple[int, int, int]) -> None:
    exact = sum(
        (Fraction(w, 65536) * v for w, v in zip(LUMINANCE, colour, strict=True)),
        start=Fraction(1, 2),
    )
    (got,) = luminance(np.array(colour, np.uint8))
    assert got == exact.__floor__()
    bt601 = (
        Fraction(299, 1000) * colour[0]
        + Fraction(587, 1000) * colour[1]
        + Fraction(114, 1000) * colour[2]
    )
    assert abs(got - bt601) <= Fraction(1, 2) + Fraction(255, 65536)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 9),
)
def test_a_grey_image_is_resized_as_one_channel(
    shape: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (*shape, 1), dtype=np.uint8)
    assert np.array_equal(preprocess(grey.repeat(3, 2), size, 1), resample(grey, size))


def test_the_same_grey_bytes_reach_the_network_everywhere(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "grey.png"), stored)
    paths = [tmp_path / "grey.png", *sorted(bundled.CROPS.rglob("*.png"))[:2]]
    images = [LabelledImage(path, path.name, 0) for path in paths]
    evaluated, _ = next(evaluation_batches(images, SIZE, len(images), whole_view, 1))
    assert (evaluated.shape, evaluated.dtype) == ((3, *SIZE, 1), np.uint8)
    for entry, expected in zip(images, evaluated, strict=True):
        image = decode(entry.path)
        whole, crop = collect._views(image, SIZE, 1)
        assert np.array_equal(load(entry.path, SIZE, 1), expected)
        assert np.array_equal(whole, expected)
        assert np.array_equal(crop, cell_view(image, SIZE, 1))
    assert np.array_equal(evaluated[0], resample(stored[:, :, None], SIZE))


def test_training_views_are_the_colour_ones_turned_grey(tmp_path: Path) -> None:
    folder = scan(write_folder(tmp_path / "cells", 2))
    cached = cache_images(folder.images, SIZE, lambda: None, [])
    for (colour, _), (grey, labels) in zip(
        training_batches(cached, SIZE, 8, 0, 0),
        training_batches(cached, SIZE, 8, 0, 0, channels=1),
        strict=True,
    ):
        assert grey.shape == (len(labels), *SIZE, 1)
        assert np.array_equal(grey, luminance(colour))


# -- rectangles -----------------------------------------------------------------------------


class _Quarters:
    """Stands for a generator that turns by quarters and nothing else."""

    def __init__(self, quarters: int) -> None:
        self.quarters = quarters

    def uniform(self, low: float, high: float, count: int | None = None) -> Any:
        return 0.0 if count is None else np.zeros(count)

    def integers(self, count: int) -> int:
        return self.quarters

    def choice(self, options: Any) -> float:
        return 1.0


def _soft(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth image without symmetry, so that interpolation costs little."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = [rows, columns, rows * columns]
    return np.stack([255 * plane for plane in planes], 2).astype(np.uint8)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (128, 32)])
def test_a_quarter_turn_fills_a_rectangular_view(quarters: int, size: tuple[int, int]) -> None:
    """Whole view: the picture, turned, squashed to the same sides; nothing cut or mirrored."""
    image = _soft(*size)
    rng: Any = _Quarters(quarters)
    height, width = size
    middle = ((width - 1) / 2, (height - 1) / 2)
    view = geometry(image, middle, (width, height), size, rng, any_angle=False)
    turned = [cv2.resize(np.rot90(image, k), (width, height)) for k in (quarters, -quarters)]
    least = min(np.abs(view.astype(int) - t.astype(int)).max() for t in turned)
    assert least <= 8


@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_crop_is_the_crop_of_a_turned_field(quarters: int) -> None:
    field = _soft(200, 200)
    rng: Any = _Quarters(quarters)
    view = geometry(field, (99.5, 99.5), (80, 80), (32, 96), rng, any_angle=True)
    square = field[60:140, 60:140]
    turned = [cv2.resize(np.rot90(square, k), (96, 32)) for k in (quarters, -quarters)]
    assert min(np.abs(view.astype(int) - t.astype(int)).max() for t in turned) <= 4


# -- model files ----------------------------------------------------------------------------


def test_golden_pairs_of_grey_images_are_grey_pngs() -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 64, 1), dtype=np.uint8)
    pair = GoldenPair.of(image, np.zeros(3, np.int8), np.ones(3, np.int8), "RED", "synthetic")
    assert np.array_equal(pair.image(1), image)
    assert np.array_equal(pair.image(), image.repeat(3, 2))


def test_files_written_before_grey_existed_are_colour() -> None:
    values = json.loads(metadata().model_dump_json())
    del values["colour"]
    old = ModelMetadata.model_validate_json(json.dumps(values))
    assert (old.colour, old.channels) == ("RGB", 3)


def test_metadata_that_say_grey_of_a_colour_graph_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(embed(tiny_model(), metadata().model_copy(update={"colour": "grey"})))
    for reader in (open_model, Classifier, lambda p: read_metadata(p.read_bytes(), subject=p)):
        with pytest.raises(ModelFileError, match=r"\(1, 8, 8, 1\).*the graph says"):
            reader(path)


# -- the command line -----------------------------------------------------------------------


@pytest.mark.parametrize("size", ["100", "64x100", "16x64"])
def test_sizes_that_do_not_fit_are_refused_naming_the_multiple(
    size: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_folder(tmp_path / "cells", 2)
    assert run_command("data", "split", data, "--out", tmp_path / "split.json") == 0
    line = refused(
        capfd,
        *("train", "--data", data, "--split", tmp_path / "split.json"),
        *("--out", tmp_path / "run", "--input-size", size),
    )
    assert f"multiples of 32, not {size if 'x' in size else f'{size}x{size}'}" in line
    assert not (tmp_path / "run").exists()


SAID = "said.txt"  # by the commands that made the run and the file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey, rectangular run folder, trained on grey images and calibrated."""
    root = tmp_path_factory.mktemp("grey")
    for label, name in enumerate(CLASSES):
        (root / "cells" / name).mkdir(parents=True)
        for index in range(5):
            grey = luminance(cell_image(label, index))
            assert cv2.imwrite(str(root / "cells" / name / f"{index}.png"), grey)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        patch.setitem(configs.SIZES, "nano", small_config())
        data = ("--data", root / "cells", "--split", root / "split.json")
        assert run_command("data", "split", root / "cells", "--out", root / "split.json") == 0
        options = ("--channels", 1, "--input-size", "64x96", "--epochs", 1, "--batch", 8)
        assert run_command("train", *data, *options, "--out", root / "run") == 0
        assert run_command("calibrate", root / "run", "--images", 8) == 0
    (root / SAID).write_text(said.getvalue())
    return root / "run"


@pytest.fixture(scope="module")
def model(trained: Path) -> Path:
    """The proven file made of it."""
    out = trained.parent / "grey.tflite"
    # One epoch teaches nothing: what integers cost says nothing either.
    with redirect_stdout(StringIO()) as said:
        assert run_command("convert", trained, "--out", out, "--max-drop", 100) == 0
    with (trained.parent / SAID).open("a") as file:
        file.write(said.getvalue())
    return out


def test_every_command_says_that_images_are_read_in_grey(
    model: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = next((trained.parent / "cells").rglob("*.png"))
    assert run_command("predict", image, "--model", model) == 0
    said = (trained.parent / SAID).read_text() + capfd.readouterr().err
    notes = [line for line in said.splitlines() if line.startswith("note: among the images are ")]
    assert len(notes) == 4
    assert all(line.endswith(" grey; taken as 8-bit grey") for line in notes)


def test_the_file_is_grey_and_rectangular_and_says_so(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interpreter = Interpreter(model, kernels=Kernels.REFERENCE)
    assert (interpreter.input.shape, interpreter.input.dtype) == ((1, *SIZE, 1), np.uint8)
    found = read_metadata(model.read_bytes())
    assert found is not None
    assert (found.colour, found.input_size, found.preprocessing) == ("grey", SIZE, recipe(1))
    for pair in found.golden:
        assert interpreter.invoke(pair.image(1))[0].tolist() == pair.logits
    capsys.readouterr()
    assert run_command("inspect", model, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metadata"]["colour"] == "grey"
    assert shown["inputs"][0]["shape"] == [1, *SIZE, 1]
    assert run_command("inspect", model, "--summary") == 0
    text = capsys.readouterr().out
    assert "64×96" in text
    assert GREY_PREPROCESSING in text


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_validate_feeds_it_what_training_did(
    model: Path, trained: Path, capsys: pytest.CaptureFixture[str], kernels: str
) -> None:
    report = trained.parent / "report"
    options = ("--split", trained / "split.json", "--out", report, "--kernels", kernels)
    assert run_command("validate", model, "--data", trained.parent / "cells", *options) == 0
    figures = json.loads((report / "report.json").read_text())
    assert figures["golden"]["passed"] is True
    assert figures["golden"]["compared"] == 2 * len(list(bundled.CROPS.iterdir()))
    assert figures["data"]["unusual"] == {"grey": figures["data"]["images"]}


def test_run_finds_cells_for_a_grey_model_in_colour_frames(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fields").mkdir()
    fields = sorted(bundled.FIELDS.glob("*.jpg"))[:2]
    for field in fields:
        (tmp_path / "fields" / field.name).write_bytes(field.read_bytes())
    capsys.readouterr()
    out = tmp_path / "r.sqlite"
    options = ("--out", out, "--save", tmp_path / "saved", "--json")
    assert run_command("run", model, "--camera", tmp_path / "fields", *options) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2
    assert len(list((tmp_path / "saved").iterdir())) == 2
    connection = sqlite3.connect(out)
    rows = connection.execute("SELECT label, probabilities FROM cells").fetchall()
    connection.close()
    assert len(rows) >= 2
    classifier = Classifier(model)
    crop = decode(sorted(bundled.CROPS.rglob("*.png"))[0])
    once = classifier.classify(crop)
    again = classifier.classify(luminance(crop).repeat(3, 2))
    assert set(once.probabilities) == set(CLASSES)
    assert abs(sum(once.probabilities.values()) - 1) < 1e-9
    # Grey before or after resizing: roundings apart, the same picture.
    first, second = (classifier.prepare(x) for x in (crop, luminance(crop).repeat(3, 2)))
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1
    assert again.label in CLASSES


def test_white_cells_are_not_looked_for_in_grey_frames(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grey").mkdir()
    grey = luminance(decode(sorted(bundled.FIELDS.glob("*.jpg"))[0]))
    assert cv2.imwrite(str(tmp_path / "grey" / "grey.png"), grey)
    camera = ("--camera", tmp_path / "grey", "--out", tmp_path / "r.sqlite")
    assert run_command("run", model, *camera) == 2
    said = capsys.readouterr().err
    assert "grey.png: a grey picture of a stained smear" in said
    assert "--find none" in said
    assert run_command("run", model, *camera, "--find", "none") == 0
    capsys.readouterr()
    picture = tmp_path / "grey" / "grey.png"
    run_command("predict", picture, "--model", model, "--find-cells")
    printed = capsys.readouterr()
    assert "a grey picture of a stained smear" in printed.out + printed.err
