"""The temperature is carried by the scale of the logits: same integers, calibrated softmax."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from open_guard import open_guard
from pydantic import ValidationError
from tiny_guard import guarded_file

from qlvit_edge import Classifier, bundled
from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.calibration.guard import guard_of
from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.rewrites.temperature import divide_logits
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.evaluation.metrics import expected_calibration_error
from qlvit_edge.evaluation.temperature import best_temperature, probabilities
from qlvit_edge.inference.classifier import softmax
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.modelfile.metadata import ModelMetadata, embed, read_metadata
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import load_checkpoint

NAME = "blood-nano"
CROPS = [image.path for image in scan(bundled.CROPS).images][::9]


@pytest.fixture(scope="module")
def graph() -> Graph:
    checkpoint = load_checkpoint(bundled.resolve_run(NAME))
    return integer_graph(checkpoint, calibration_of(checkpoint), "fast")


@pytest.fixture(scope="module")
def own_guard() -> Guard:
    guard = guard_of(load_checkpoint(bundled.resolve_run(NAME)))
    assert guard is not None
    return guard


@pytest.fixture(scope="module")
def files(graph: Graph, own_guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the bundled weights as a file from before, and as today's converter has it."""
    folder = tmp_path_factory.mktemp("carried")
    described = read_metadata(bundled.resolve_model(NAME).read_bytes())
    assert described is not None
    divided = divide_logits(graph, own_guard.temperature)
    changes = {
        "before": {"guard": own_guard},
        "carried": {
            "guard": own_guard.of_divided_logits(divided.outputs[0].scale),
            "temperature": own_guard.temperature,
        },
    }
    for name, written in (("before", graph), ("carried", divided)):
        metadata = described.model_copy(update={"golden": [], **changes[name]})
        (folder / f"{name}.tflite").write_bytes(embed(write_tflite(written), metadata))
    return folder


def layer_of(graph: Graph) -> Conv2D:
    layer = next(one for one in graph.operations if one.name == "head/logits")
    assert isinstance(layer, Conv2D)
    return layer


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.5, 20))
@settings(max_examples=6, deadline=None)
def test_every_sum_comes_to_the_integer_that_it_came_to(seed: int, temperature: float) -> None:
    """All sums up to where every class is saturated, one by one, in both arithmetics."""
    before = random_layer(np.random.default_rng(seed))
    graph = Graph("layer", before.inputs[:1], (before.output,), (before,))
    divided = divide_logits(graph, temperature)
    (after,) = divided.operations
    assert isinstance(after, Conv2D)
    sums = np.repeat(np.arange(-40_000, 40_000, dtype=np.int32)[:, None], 4, axis=1)
    integers = before.finish_biased(sums.astype(np.int64))
    assert (integers[[0, -1]] == [[-128] * 4, [127] * 4]).all()
    np.testing.assert_array_equal(integers, after.finish_biased(sums.astype(np.int64)))
    np.testing.assert_array_equal(before.xnnpack_biased(sums), after.xnnpack_biased(sums))
    found = before.output.scale / after.output.scale
    assert found == pytest.approx(temperature, rel=4e-3)
    weight, bias = after.inputs[1:]
    assert weight.quantisation is not None
    assert bias.quantisation is not None
    of_products = np.array(weight.quantisation.scale) * after.inputs[0].scale
    np.testing.assert_allclose(bias.quantisation.scale, of_products, rtol=1e-6)
    # What was found is kept: a guard that was fitted to it is judged by it.
    assert divide_logits(graph, found).outputs[0].scale == divided.outputs[0].scale


def random_layer(rng: np.random.Generator) -> Conv2D:
    """A linear layer of 16 features and 4 classes whose outputs saturate below 40,000."""
    features = Tensor("features", (1, 1, 1, 16), "int8", Quantisation((rng.uniform(0.01, 0.1),), 3))
    scales = tuple(rng.uniform(0.005, 0.02, 4))
    values = rng.integers(-127, 128, (4, 1, 1, 16)).astype(np.int8)
    bias = rng.integers(-9000, 9000, 4).astype(np.int32)
    of_bias = tuple(features.scale * scale for scale in scales)
    smallest = features.scale * min(scales)
    return Conv2D(
        inputs=(
            features,
            Tensor("weights", values.shape, "int8", Quantisation(scales, 0, 0), values),
            Tensor("bias", (4,), "int32", Quantisation(of_bias, 0, 0), bias),
        ),
        name="logits",
        quantisation=Quantisation((smallest * rng.uniform(20, 130),), int(rng.integers(-40, 40))),
    )


def test_only_scales_of_the_last_layer_change(graph: Graph) -> None:
    divided = divide_logits(graph, 2.5)
    changed = [
        new.name
        for new, old in zip(divided.operations, graph.operations, strict=True)
        if new is not old
    ]
    assert changed == ["head/logits", "logits"]
    assert divided.outputs[1] is graph.outputs[1]
    for new, old in zip(layer_of(divided).inputs, layer_of(graph).inputs, strict=True):
        assert new.data is old.data


@pytest.mark.parametrize("kernels", [Kernels.AUTO, Kernels.REFERENCE])
def test_a_new_file_gives_the_bytes_of_the_old_one_and_calibrated_probabilities(
    kernels: Kernels, files: Path, own_guard: Guard
) -> None:
    old = Interpreter(files / "before.tflite", kernels=kernels)
    new = Interpreter(files / "carried.tflite", kernels=kernels)
    for path in CROPS:
        pixels = load(path, (96, 96), 3)
        logits, features = new.invoke_all(pixels)
        for one, other in zip((logits, features), old.invoke_all(pixels), strict=True):
            np.testing.assert_array_equal(one, other)
        carried = softmax(new.output.dequantise(logits)[0])
        by_guard = softmax(old.output.dequantise(logits)[0] / own_guard.temperature)
        np.testing.assert_allclose(carried, by_guard, atol=2e-3)
        assert carried.argmax() == by_guard.argmax()


def test_classifier_predict_and_validate_give_the_softmax_of_the_files_logits(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = files / "carried.tflite"
    bare = Interpreter(model)
    expected = {}
    for path in CROPS:
        logits, _ = bare.invoke_all(load(path, (96, 96), 3))
        expected[path] = float(softmax(bare.output.dequantise(logits)[0]).max())
        (tmp_path / "cells" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cells" / path.parent.name / path.name).symlink_to(path)
    with Classifier(model, isolated=False) as classifier:
        for path, chance in expected.items():
            assert classifier.classify(path).probability == pytest.approx(chance, abs=1e-7)
    capfd.readouterr()
    assert run_command("predict", *CROPS, "--model", model, "--json") == 0
    listed = json.loads(capfd.readouterr().out)
    assert [one["probability"] for one in listed] == pytest.approx([*expected.values()], abs=1e-4)
    arguments = ("--data", tmp_path / "cells", "--one-view", "--out", tmp_path / "report")
    assert run_command("validate", model, *arguments) == 0
    view = json.loads((tmp_path / "report" / "report.json").read_text())["views"]["whole_image"]
    measured = sum(
        b["answers"] * b["mean_probability"] for b in view["reliability"] if b["answers"]
    )
    assert measured == pytest.approx(sum(expected.values()), abs=1e-6)


def test_metadata_say_that_the_scale_carries_it_and_nothing_divides_twice(
    files: Path, own_guard: Guard
) -> None:
    metadata = read_metadata((files / "carried.tflite").read_bytes())
    assert metadata is not None
    assert metadata.guard is not None
    assert metadata.temperature == own_guard.temperature
    assert metadata.guard.temperature == 1.0
    whole = metadata.model_dump()
    twice = {**whole, "guard": {**whole["guard"], **_divided(own_guard)}}
    with pytest.raises(ValidationError, match="twice"):
        ModelMetadata.model_validate(twice)


def _divided(guard: Guard) -> dict[str, object]:
    return {name: getattr(guard, name) for name in ("logit_scale", "temperature", "powers")}


def test_a_file_from_before_divides_by_its_guards_temperature(tmp_path: Path) -> None:
    steps = [round(2.0**30 * float(np.exp(-2.0 * step / 4))) for step in range(256)]
    path = guarded_file(tmp_path / "m.tflite", open_guard(temperature=4.0, powers=steps))
    metadata = read_metadata(path.read_bytes())
    assert metadata is not None
    assert metadata.temperature is None
    assert "temperature" not in json.loads(metadata.model_dump_json())
    image = np.full((8, 8, 3), (200, 60, 60), np.uint8)
    with Classifier(path, isolated=False) as classifier:
        found = classifier.infer(image).probabilities
    raw = Interpreter(path)
    logits = raw.output.dequantise(raw.invoke_all(image)[0])[0]
    assert list(found.values()) == pytest.approx(softmax(logits / 4).tolist(), abs=1e-7)


def test_a_fitted_temperature_lowers_the_calibration_error_and_leaves_the_answers() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (4000, 5))
    labels = np.array([rng.choice(5, p=row) for row in probabilities(logits, 1.0)])
    sharp = 2.6 * logits
    held_out, tested = slice(0, 2000), slice(2000, None)
    temperature = best_temperature(sharp[held_out], labels[held_out])
    assert temperature == pytest.approx(2.6, rel=0.1)
    right = sharp[tested].argmax(1) == labels[tested]
    before, after = (probabilities(sharp[tested], by) for by in (1.0, temperature))
    assert expected_calibration_error(before.max(1), right) > 0.1
    assert expected_calibration_error(after.max(1), right) < 0.05
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    assert best_temperature(np.array([[9.0, 0.0]]), np.array([0])) == pytest.approx(0.5)
    assert best_temperature(np.array([[9.0, 0.0]]), np.array([1])) == pytest.approx(20.0)
