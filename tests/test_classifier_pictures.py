"""What a classifier takes for a picture, from how many threads, and how it is copied."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_metadata import plain_image, tiny_file
from tiny_model import COLOURS

from qlvit_edge import Classifier, QLViTEdgeError
from qlvit_edge.bundled import CROPS
from qlvit_edge.errors import DataError, InferenceLostError, ModelFileError
from qlvit_edge.inference.pictures import rgb8
from qlvit_edge.preprocess import decode, set_white_level

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
RGBA = np.dstack([RGB, RNG.integers(0, 256, (9, 7), dtype=np.uint8)])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "m.tflite")


@pytest.fixture(scope="module")
def classifier(path: Path) -> Classifier:
    return Classifier(path)


def over_white(rgba: np.ndarray) -> np.ndarray:
    values, alpha = rgba[..., :3].astype(np.int64), rgba[..., 3:].astype(np.int64)
    return ((values * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (RGB, RGB),
        (RGB.tolist(), RGB),
        (tuple(map(tuple, GREY.tolist())), repeated(GREY)),
        (GREY, repeated(GREY)),
        (GREY[:, :, np.newaxis], repeated(GREY)),
        (RGBA, over_white(RGBA)),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(">u2") * 257, RGB),
        (np.asfortranarray(RGB), RGB),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(RGBA), over_white(RGBA)),
        (Image.fromarray(GREY), repeated(GREY)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), repeated(GREY)),
        (Image.fromarray(GREY > 99), repeated(np.where(GREY > 99, 255, 0).astype(np.uint8))),
        (Image.fromarray(GREY).convert("LA"), repeated(GREY)),
        (Image.fromarray(GREY).convert("LA").convert("La"), repeated(GREY)),
        (Image.fromarray(repeated(GREY)).quantize(256), None),
    ],
)
def test_pictures_become_8_bit_rgb(picture: Any, expected: np.ndarray | None) -> None:
    if expected is None:  # a palette says what its colours are
        expected = np.asarray(picture.convert("RGB"))
    found = rgb8(picture)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def test_arrays_of_16_bits_have_the_white_level_that_files_have(tmp_path: Path) -> None:
    twelve = RGB.astype(np.uint16) * 16
    cv2.imwrite(str(tmp_path / "x.png"), twelve[:, :, ::-1])
    set_white_level(4095)
    try:
        assert np.array_equal(rgb8(twelve), decode(tmp_path / "x.png"))
        with pytest.raises(DataError, match="above the white level 4095"):
            rgb8(np.full_like(twelve, 4096))
    finally:
        set_white_level(None)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_a_file_its_bytes_and_pillow_give_the_same(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    cv2.imwrite(str(path), RGB[:, :, ::-1])
    expected = decode(path)
    for picture in (path, str(path), path.read_bytes(), bytearray(path.read_bytes())):
        assert np.array_equal(rgb8(picture), expected)
    if ending != ".jpg":  # two libraries' JPEG decoders may differ by a step
        with Image.open(path) as image:
            assert np.array_equal(rgb8(image), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_images_are_turned_upright_as_their_file_is(
    tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "x.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as image:
        assert np.array_equal(rgb8(image), decode(path))


def test_a_palette_with_transparency_lies_over_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = 1
    assert rgb8(image).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("picture", "finding"),
    [
        (RGB / 255, "floats have no agreed range"),
        (RGB.astype(np.float32).tolist(), "whole numbers"),
        (RGB.astype(np.int64), "give uint8"),
        (RGB > 3, "give uint8"),
        (RGB.transpose(2, 0, 1), "channels must come last"),
        (RGB[np.newaxis], "classify_many"),
        (RGB[:, :, :2], "its shape is"),
        (RGB[:0], "empty"),
        (np.uint8(3), "its shape|of type"),
        ([[1, 2], [3]], "no array|whole numbers"),
        ([[300, 2]], "from 2 to 300"),
        ([], "whole numbers|shape"),
        ([["a"]], "whole numbers"),
        (None, "of type NoneType"),
        (object(), "of type object"),
        (3, "of type int"),
        (b"", "empty"),
        (b"no image", "not a JPEG"),
        ("missing.png", "no such file"),
        ("nul\0.png", "nul"),
        (Image.fromarray(GREY.astype(np.float32)), "mode 'F'"),
        (Image.fromarray(GREY.astype(np.int32)), "mode 'I'"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    classifier: Classifier, picture: Any, finding: str
) -> None:
    with pytest.raises(DataError, match=finding) as caught:
        classifier.classify(picture)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, QLViTEdgeError)


def test_a_damaged_file_that_pillow_reads_late_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(RNG.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(DataError, match="Pillow cannot read it"):
        rgb8(image)


def test_many_pictures_have_answers_in_their_order(classifier: Classifier) -> None:
    pictures = [plain_image(label) for label in COLOURS]
    answers = classifier.classify_many(iter(pictures))
    assert [answer.label for answer in answers] == list(COLOURS)
    assert answers == [classifier.classify(picture) for picture in pictures]
    assert classifier.classify_many([]) == []
    with pytest.raises(DataError, match=r"^image 1: "):
        classifier.classify_many([pictures[0], None])


@pytest.mark.parametrize(
    "one",
    [RGB, GREY, RGB.tolist(), GREY.tolist(), b"bytes", "cell.png", Path("cell.png"), None, 3],
    ids=lambda one: type(one).__name__,
)
def test_a_single_picture_is_not_taken_for_its_rows(classifier: Classifier, one: Any) -> None:
    with pytest.raises(DataError, match="give one image to classify, several as a list"):
        classifier.classify_many(one)


def test_a_stack_of_pictures_is_several(classifier: Classifier) -> None:
    want = [classifier.classify(RGB)] * 2
    for several in (np.stack([RGB, RGB]), [RGB.tolist()] * 2, (RGB, RGB)):
        assert classifier.classify_many(several) == want
    assert len(classifier.classify_many(np.stack([GREY, GREY]))) == 2


@pytest.mark.parametrize("isolated", [True, False])
def test_threads_get_their_own_answers(isolated: bool) -> None:
    """A network that computes for long enough to be interrupted."""
    with Classifier("blood-nano", isolated=isolated) as classifier:
        images = [classifier.prepare(path) for path in sorted(CROPS.glob("*/*"))[:8]]
        expected = [classifier.infer(image) for image in images] * 25
        assert len({answer.probability for answer in expected}) > 4
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(classifier.infer, images * 25)) == expected


def test_copies_open_the_file_again(path: Path) -> None:
    with Classifier(path, accept_at=0.4) as classifier:
        expected = classifier.classify(plain_image("RED"))
        for other in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
            with other:
                assert other.classify(plain_image("RED")) == expected
                assert other.accept_at == 0.4


def test_a_copy_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tiny_file(tmp_path / "m.tflite")
    with Classifier(path) as classifier:
        tiny_file(path, floating=True)
        with pytest.raises(ModelFileError, match="not the file any more"):
            copy.copy(classifier)


def test_a_closed_classifier_says_so(path: Path) -> None:
    with Classifier(path) as classifier:
        pass
    with pytest.raises(InferenceLostError, match="it is closed; restart it"):
        classifier.classify(RGB)
    classifier.restart()
    assert classifier.classify(plain_image("BLUE")).label == "BLUE"
    classifier.close()


def test_only_what_prepare_made_is_inferred(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="give it to `classify`"):
        classifier.infer(np.zeros((3, 3, 3), np.uint8))
