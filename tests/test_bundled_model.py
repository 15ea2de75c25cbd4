"""The bundled model is what this converter makes of the bundled weights."""

import json

import numpy as np
import pytest

from qlvit_edge import Classifier, bundled
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.data.folder import scan
from qlvit_edge.data.relabel import labelled_as
from qlvit_edge.data.split import load_split
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.training.checkpoint import load_checkpoint

each_model = pytest.mark.parametrize("name", bundled.names())
EIGHT = {"basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte"}
EIGHT |= {"monocyte", "neutrophil", "platelet"}


@each_model
def test_hashes_labels_and_integers_of_the_bundled_file(name: str) -> None:
    folder, content = bundled.FOLDER / name, bundled.resolve_model(name).read_bytes()
    metadata = read_metadata(content)
    assert metadata is not None
    checkpoint = load_checkpoint(folder)
    assert metadata.name == name
    assert metadata.checkpoint_sha256 == checkpoint.sha256
    assert metadata.calibration_sha256 == sha256((folder / "calibration.json").read_bytes())
    assert metadata.split_fingerprint == load_split(folder / "split.json").fingerprint
    assert metadata.labels == checkpoint.run.classes
    assert "blasts" in metadata.unknown_cells
    assert checkpoint.run.unknown_cells == metadata.unknown_cells
    assert audit_integer_only(read_document(content)).passed


@each_model
def test_golden_pairs_of_the_bundled_file_are_the_references_of_todays_converter(
    name: str,
) -> None:
    folder = bundled.FOLDER / name
    checkpoint = load_checkpoint(folder)
    calibration = load_calibration(folder / "calibration.json", checkpoint.sha256)
    graph = integer_graph(checkpoint, calibration, "fast")
    metadata = read_metadata(bundled.resolve_model(name).read_bytes())
    assert metadata is not None
    images = np.stack([pair.image() for pair in metadata.golden])
    logits = run_reference(graph, {graph.inputs[0].name: images})[graph.outputs[0].name]
    assert logits.tolist() == [pair.logits for pair in metadata.golden]


@each_model
def test_calibration_images_are_training_images(name: str) -> None:
    folder = bundled.FOLDER / name
    calibration = load_calibration(folder / "calibration.json", load_checkpoint(folder).sha256)
    assert len(calibration.images) == 256
    assert set(calibration.images) <= set(load_split(folder / "split.json").train)


@each_model
def test_most_bundled_crops_are_recognised(name: str) -> None:
    with Classifier(name) as classifier:
        crops = labelled_as(scan(bundled.CROPS), classifier.labels)
        right = [
            classifier.classify(crop.path).label == classifier.labels[crop.label] for crop in crops
        ]
    assert len(right) >= 20
    assert np.mean(right) > 0.7, f"{sum(right)} of {len(right)}"


@each_model
def test_folders_of_crops_are_classes_of_the_models_that_the_demonstration_uses(name: str) -> None:
    labels = load_checkpoint(bundled.FOLDER / name).run.classes
    if name.startswith("blood-"):
        assert set(labels) == EIGHT
        assert set(scan(bundled.CROPS).classes) < EIGHT
    else:
        assert labels == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]


@each_model
def test_the_card_and_the_figures_are_there(name: str) -> None:
    for file in ("MODEL_CARD.md", "metrics.json", "proof.json"):
        assert (bundled.FOLDER / name / file).stat().st_size > 500


@each_model
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
