"""Training-time evaluation, calibration and the device feed the network the same bytes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_metadata import tiny_file

from qlvit_edge import bundled
from qlvit_edge.calibration import collect
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import cell_view, evaluation_batches
from qlvit_edge.fields.finder import crop, find_cells
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.preprocess import decode, load

SIZE = (8, 8)  # of the tiny model


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """Real cells, and every unusual kind of file."""
    random = np.random.default_rng(0)
    made = {
        "grey.png": random.integers(0, 256, (31, 47), dtype=np.uint8),
        "deep.tiff": random.integers(0, 65536, (40, 22, 3), dtype=np.uint16),
        "alpha.png": random.integers(0, 256, (9, 13, 4), dtype=np.uint8),
        "colour.bmp": random.integers(0, 256, (60, 60, 3), dtype=np.uint8),
        "photo.jpg": random.integers(0, 256, (50, 61, 3), dtype=np.uint8),
    }
    for name, pixels in made.items():
        cv2.imencode(Path(name).suffix, pixels)[1].tofile(tmp_path / name)
    real = sorted(bundled.CROPS.rglob("*.*"))[:3]
    assert len(real) == 3
    paths = [*real, *(tmp_path / name for name in made)]
    return [LabelledImage(path, path.name, 0) for path in paths]


def test_the_same_bytes_reach_the_network_everywhere(
    images: list[LabelledImage], tmp_path: Path
) -> None:
    evaluated, _ = next(evaluation_batches(images, SIZE, len(images)))
    classifier = Classifier(tiny_file(tmp_path / "tiny.tflite"))
    for entry, expected in zip(images, evaluated, strict=True):
        whole, _ = collect._views(decode(entry.path.read_bytes()), SIZE)
        assert np.array_equal(whole, expected)
        assert np.array_equal(classifier.prepare(decode(entry.path)), expected)
        assert np.array_equal(load(entry.path, SIZE), expected)
        assert expected.dtype == np.uint8
        assert expected.shape == (*SIZE, 3)


def test_the_same_crop_reaches_the_network_everywhere(tmp_path: Path) -> None:
    field = sorted(bundled.FIELDS.glob("*.jpg"))[0]
    image = decode(field)
    cells = find_cells(image)
    assert cells
    classifier = Classifier(tiny_file(tmp_path / "tiny.tflite"))
    expected = classifier.prepare(crop(image, cells[0]))
    _, view = collect._views(decode(field.read_bytes()), SIZE)
    assert np.array_equal(view, expected)
    assert np.array_equal(cell_view(image, SIZE), expected)
