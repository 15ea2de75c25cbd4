"""A model file as a classifier: labels, probabilities and verdicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_metadata import metadata, plain_image, plain_logits, tiny_file
from tiny_model import COLOURS, tiny_model

import qlvit_edge
from qlvit_edge.errors import DataError, ModelFileError
from qlvit_edge.inference.classifier import Classifier, softmax
from qlvit_edge.inference.tensor_info import TensorInfo, as_input
from qlvit_edge.modelfile.metadata import embed


def test_the_public_face_is_this() -> None:
    assert qlvit_edge.__all__ == ["Classification", "Classifier", "QLViTEdgeError", "__version__"]
    assert qlvit_edge.Classifier is Classifier
    assert issubclass(ModelFileError, qlvit_edge.QLViTEdgeError)
    assert qlvit_edge.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="nothing"):
        _ = qlvit_edge.nothing  # type: ignore[attr-defined]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, qlvit_edge; from qlvit_edge import Classifier; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'ai_edge_litert') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    light = [sys.executable, "-c", "import sys, qlvit_edge; print('numpy' in sys.modules)"]
    done = subprocess.run(light, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("label", COLOURS)
def test_an_array_and_its_file_get_the_same_answer(tmp_path: Path, label: str) -> None:
    classifier = Classifier(tiny_file(tmp_path / "m.tflite"))
    image = plain_image(label, size=40)
    path = tmp_path / "cell.png"
    cv2.imwrite(str(path), image[..., ::-1])
    answer = classifier.classify(image)
    assert answer.label == label
    assert answer.verdict == "accepted"
    assert answer.probability == answer.probabilities[label] > 0.99
    assert list(answer.probabilities) == list(COLOURS)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert classifier.classify(path) == classifier.classify(str(path)) == answer


def test_probabilities_are_the_softmax_of_the_dequantised_logits(tmp_path: Path) -> None:
    classifier = Classifier(tiny_file(tmp_path / "m.tflite"))
    image = plain_image("RED", level=33)
    logits = plain_logits(image).astype(np.float64) * 2.0
    expected = np.exp(logits) / np.exp(logits).sum()
    assert list(classifier.classify(image).probabilities.values()) == pytest.approx(list(expected))


def test_an_improbable_label_is_uncertain(tmp_path: Path) -> None:
    grey = np.full((8, 8, 3), 120, np.uint8)
    path = tiny_file(tmp_path / "m.tflite")
    answer = Classifier(path).classify(grey)
    assert answer.probability == pytest.approx(1 / 3)
    assert answer.verdict == "uncertain"
    assert Classifier(path, accept_at=0.3).classify(grey).verdict == "accepted"


def test_a_float_model_takes_the_same_pixels(tmp_path: Path) -> None:
    integer = Classifier(tiny_file(tmp_path / "i.tflite"))
    real = Classifier(tiny_file(tmp_path / "f.tflite", floating=True))
    for label in COLOURS:
        image = plain_image(label, size=20)
        assert integer.classify(image).label == real.classify(image).label == label


def test_an_int8_input_is_quantised_as_the_tensor_says() -> None:
    tensor = TensorInfo("x", (1, 1, 1, 3), np.dtype(np.int8), 2.0, -128)
    values = as_input(np.array([[[0, 100, 255]]], np.uint8), tensor)
    assert values.dtype == np.int8
    assert values.tolist() == [[[-128, -78, 0]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.bool_])
def test_a_scale_beside_values_that_are_no_integers_means_nothing(dtype: type) -> None:
    tensor = TensorInfo("x", (1, 1, 1, 3), np.dtype(dtype), 2.0, 7)
    values = as_input(np.array([[[0, 100, 255]]], np.uint8), tensor)
    assert values.dtype == dtype
    assert values.tolist() == np.array([[[0, 100, 255]]], dtype).tolist()
    assert tensor.dequantise(values).tolist() == values.astype(np.float64).tolist()


def test_softmax_of_large_logits_does_not_overflow() -> None:
    assert softmax(np.array([1e4, 0.0, -1e4])).tolist() == [1.0, 0.0, 0.0]


def test_files_that_cannot_classify_are_refused(tmp_path: Path) -> None:
    bare = tiny_file(tmp_path / "bare.tflite", with_metadata=False)
    with pytest.raises(ModelFileError, match="which classes"):
        Classifier(bare)
    other = tmp_path / "other.tflite"
    changed = metadata().model_copy(update={"preprocessing": "rgb8-letterbox-v9"})
    other.write_bytes(embed(tiny_model(), changed))
    with pytest.raises(ModelFileError, match="rgb8-letterbox-v9"):
        Classifier(other)
    with pytest.raises(ModelFileError, match="no such model file"):
        Classifier(tmp_path / "none.tflite")
    with pytest.raises(ValueError, match="accept_at"):
        Classifier(bare, accept_at=2)


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png"):
        Classifier(tiny_file(tmp_path / "m.tflite")).classify(path)
