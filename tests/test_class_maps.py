"""Class maps of integer files: their mean is the logit, and they lie where the class is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from head_network import CHANNELS, SIDES, Norm, head_file, pictures
from mini_chain import mini_chain
from open_guard import open_guard
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import bundled
from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.inference import class_maps as room
from qlvit_edge.inference.class_maps import ClassMapper, class_maps
from qlvit_edge.modelfile.head import Head, dequantised, limits, read_head
from qlvit_edge.modelfile.metadata import embed, pack


@pytest.mark.parametrize("features", [False, True])
def test_the_tiny_models_maps_are_its_weights_on_each_pixel(tmp_path: Path, features: bool) -> None:
    """Files of format 2 and of format 3; worked out by hand."""
    path = tmp_path / "tiny.tflite"
    path.write_bytes(embed(tiny_model(features=features), metadata(features=features)))
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    with ClassMapper(path) as mapper:
        found = mapper.explain(image)
    weights = 0.01 * np.array(list(COLOURS.values()), np.float64)
    assert found.maps.shape == (3, 8, 8)
    np.testing.assert_allclose(found.maps, np.einsum("kc,hwc->khw", weights, image), atol=1e-3)
    assert found.labels == tuple(COLOURS)
    assert found.classification.logits is not None


def test_the_map_of_a_class_is_where_its_colour_is(tmp_path: Path) -> None:
    image = plain_image("GREEN")
    image[1:3, 5:7] = plain_image("RED")[0, 0]
    with ClassMapper(tiny_file(tmp_path / "tiny.tflite")) as mapper:
        found = mapper.explain(image)
    assert found.classification.label == "GREEN"
    red = found.of("RED") > found.of("RED").mean()
    assert np.argwhere(red).tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]
    np.testing.assert_array_equal(found.of(), found.of("GREEN"))
    assert not (found.of() > found.of().mean())[red].any()
    with pytest.raises(ValueError, match="WHITE"):
        found.of("WHITE")


@pytest.mark.parametrize(
    ("norm", "kernels"),
    [("none", "auto"), ("batch", "auto"), ("layer", "auto"), ("layer", "reference")],
)
def test_the_mean_of_a_map_is_the_logit_but_for_rounding(
    norm: Norm, kernels: str, tmp_path: Path
) -> None:
    path = tmp_path / "head.tflite"
    path.write_bytes(head_file(norm))
    head = read_head(path.read_bytes())
    assert head.standardises == (norm == "layer")
    assert head.feature_map.shape == (1, 4, 6, CHANNELS)
    with ClassMapper(path, kernels=kernels) as mapper:
        for image in pictures(8, seed=5):
            found = mapper.explain(image)
            assert found.input_size == SIDES
            assert found.classification.logits is not None
            logits = dequantised(head.logits, found.classification.logits)
            away = np.abs(np.clip(found.maps.mean((1, 2)), *limits(head.logits)) - logits)
            assert (away <= found.rounding).all()
            assert (found.rounding < 0.25 * np.ptp(logits)).all()  # a bound that says something
            assert found.step == pytest.approx(head.logits.scale)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_slopes_of_a_map_are_the_heads(norm: Norm) -> None:
    """Between two positions that differ in one channel; and by raising that channel everywhere."""
    head = read_head(head_file(norm))
    parts = ("feature_map", "pooled", "standard", "features", "logits")
    real = {part: replace(getattr(head, part), scales=()) for part in parts}
    if norm == "batch":
        real["standard"] = real["pooled"]
    head, random = replace(head, **real), np.random.default_rng(3)
    for channel in range(CHANNELS):
        x = random.normal(0, 1, (4, 6, CHANNELS))
        x[0, 0] = x[1, 1]
        x[0, 0, channel] += 0.5
        maps, step = class_maps(head, x)[0], 1e-5 * (np.arange(CHANNELS) == channel)
        up, down = (class_maps(head, x + way)[0].mean((1, 2)) for way in (step, -step))
        np.testing.assert_allclose((up - down) / 2e-5, (maps[:, 0, 0] - maps[:, 1, 1]) / 0.5, 1e-5)


def test_features_at_the_end_of_their_range_speak_everywhere_alike() -> None:
    head = read_head(head_file("batch", widest=0.5))
    stored = np.random.default_rng(0).integers(-128, 128, (4, 6, CHANNELS), dtype=np.int8)
    averages = np.clip(dequantised(head.feature_map, stored).mean((0, 1)), *limits(head.pooled))
    low, high = limits(head.features)
    features = head.gain * averages + head.offset
    cut = (features < low) | (features > high)
    assert 0 < cut.sum() < CHANNELS
    rest = replace(head, weights=np.where(cut, 0.0, head.weights))
    of_cut = class_maps(head, stored)[0] - class_maps(rest, stored)[0]
    np.testing.assert_allclose(np.ptp(of_cut, (1, 2)), 0, atol=1e-9)
    at_end = head.weights[:, cut] @ np.clip(features, low, high)[cut]
    np.testing.assert_allclose(of_cut.mean((1, 2)), at_end)


def test_a_bundled_models_map_is_that_of_its_checkpoint() -> None:
    torch = pytest.importorskip("torch")
    from qlvit_edge.preprocess import load
    from qlvit_edge.training.checkpoint import load_checkpoint
    from qlvit_edge.training.grad_cam import class_maps as float_maps

    checkpoint = load_checkpoint(bundled.resolve_run("blood-nano"))
    crops = [sorted((bundled.CROPS / name).iterdir())[0] for name in ("neutrophil", "lymphocyte")]
    with ClassMapper("blood-nano") as mapper:
        for crop in crops:
            found = mapper.explain(crop)
            label = found.labels.index(found.classification.label)
            pixels = load(crop, checkpoint.run.network.input_size)
            batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
            (floats,) = float_maps(checkpoint.network, batch)
            logits = checkpoint.network(batch)[0].detach().numpy()
            np.testing.assert_allclose(floats.mean((1, 2)), logits, atol=1e-4)
            assert np.corrcoef(found.of().ravel(), floats[label].ravel())[0, 1] > 0.95


def test_a_chain_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "chain.zip"
    path.write_bytes(mini_chain()[1])
    with pytest.raises(ModelFileError, match=r"chain\.zip: a chain keeps .* give the \.tflite"):
        ClassMapper(path)


def _changed(edit: Any) -> bytes:
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_model(), 0))
    edit(tree.subgraphs[0])
    return embed(pack(tree), metadata(golden=False))


def _with_relu(graph: Any) -> None:
    graph.operators[-1].builtinOptions.fusedActivationFunction = 1


def _average_of_columns(graph: Any) -> None:
    graph.operators[-2].inputs = [graph.operators[-2].inputs[0], len(graph.tensors)]
    graph.tensors.append(graph.tensors[graph.operators[-1].inputs[2]])


@pytest.mark.parametrize(
    ("edit", "finding"),
    [(_with_relu, "does more than weigh and add"), (_average_of_columns, "nothing averages a map")],
)
def test_other_heads_are_refused(edit: Any, finding: str, tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(_changed(edit))
    with pytest.raises(ModelFileError, match=rf"other\.tflite: .*{finding}.*qlvit-edge convert"):
        ClassMapper(path)


def test_a_head_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: bytes, subject: object) -> Head:
        head = read_head(model, subject=subject)
        return replace(head, weights=1.5 * head.weights)

    monkeypatch.setattr(room, "read_head", wrong)
    path = tiny_file(tmp_path / "tiny.tflite")
    with (
        ClassMapper(path) as mapper,
        pytest.raises(ModelFileError, match="would miss the logit of class"),
    ):
        mapper.explain(plain_image("RED"))


def test_a_runtime_that_answers_otherwise_with_the_map_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClassMapper(tiny_file(tmp_path / "tiny.tflite")) as mapper:
        shown = mapper._shown.invoke_all(plain_image("RED"))
        monkeypatch.setattr(mapper._shown, "invoke_all", lambda _: (shown[0] + 1, shown[1]))
        with pytest.raises(DeviceError, match="answers otherwise when it shows"):
            mapper.explain(plain_image("RED"))


def test_a_guards_verdict_comes_with_the_map(tmp_path: Path) -> None:
    path = tmp_path / "guarded.tflite"
    data = metadata(features=True, golden=False).model_copy(update={"guard": open_guard()})
    path.write_bytes(embed(tiny_model(features=True), data))
    with ClassMapper(path) as mapper:
        found = mapper.explain(plain_image("RED"))
    assert found.classification.judgement is not None
