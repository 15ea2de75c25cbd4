"""The bundled model is what this converter makes of the bundled weights."""

import json

import numpy as np
import pytest

from qlvit_edge import Classifier, bundled
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.training.checkpoint import load_checkpoint

NAME = "wbc-nano"


def test_hashes_labels_and_integers_of_the_bundled_file() -> None:
    folder, content = bundled.FOLDER / NAME, bundled.resolve_model(NAME).read_bytes()
    metadata = read_metadata(content)
    assert metadata is not None
    assert metadata.name == NAME
    assert metadata.checkpoint_sha256 == load_checkpoint(folder).sha256
    assert metadata.calibration_sha256 == sha256((folder / "calibration.json").read_bytes())
    assert metadata.split_fingerprint == load_split(folder / "split.json").fingerprint
    assert metadata.labels == list(scan(bundled.CROPS).classes)
    assert metadata.unknown_cells == ["basophils", "band cells", "blasts"]
    assert load_checkpoint(folder).run.unknown_cells == metadata.unknown_cells
    assert audit_integer_only(read_document(content)).passed


def test_golden_pairs_of_the_bundled_file_are_the_references_of_todays_converter() -> None:
    folder = bundled.FOLDER / NAME
    checkpoint = load_checkpoint(folder)
    calibration = load_calibration(folder / "calibration.json", checkpoint.sha256)
    graph = integer_graph(checkpoint, calibration, "fast")
    metadata = read_metadata(bundled.resolve_model(NAME).read_bytes())
    assert metadata is not None
    images = np.stack([pair.image() for pair in metadata.golden])
    logits = run_reference(graph, {graph.inputs[0].name: images})[graph.outputs[0].name]
    assert logits.tolist() == [pair.logits for pair in metadata.golden]


def test_calibration_images_are_training_images() -> None:
    folder = bundled.FOLDER / NAME
    calibration = load_calibration(folder / "calibration.json", load_checkpoint(folder).sha256)
    assert len(calibration.images) == 256
    assert set(calibration.images) <= set(load_split(folder / "split.json").train)


def test_most_bundled_crops_are_recognised() -> None:
    classifier = Classifier(NAME)
    folder = scan(bundled.CROPS)
    right = [
        classifier.classify(image.path).label == folder.classes[image.label]
        for image in folder.images
    ]
    assert sum(right) >= 23, f"{sum(right)} of {len(right)}"


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "metrics.json", "proof.json"])
def test_the_card_and_the_figures_are_there(name: str) -> None:
    assert ((bundled.FOLDER / NAME) / name).stat().st_size > 500


@pytest.mark.parametrize("name", ["wbc-nano", "wbc-tiny"])
def test_the_proof_is_of_the_bundled_bytes_and_says_what_it_was_made_on(name: str) -> None:
    folder, content = bundled.FOLDER / name, bundled.resolve_model(name).read_bytes()
    proof, split = (
        json.loads((folder / "proof.json").read_text()),
        load_split(folder / "split.json"),
    )
    assert (proof["bytes"], proof["sha256"]) == (len(content), sha256(content))
    assert proof["sample"]["images"] == proof["accuracy"]["images"] == len(split.test)
    assert proof["sample"]["split_fingerprint"] == split.fingerprint
    assert proof["sample"]["whole"]
    assert not proof["reduced_proof"]
    assert proof["passed"]
