"""`--int16-layers`: chosen layers in int16, proven like any graph, closer and said to be slower."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command import files_below, refused, run_command
from small_run import cell_image, small_config, write_folder, write_run

from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.calibration.int16_choice import choose_int16_layers, worst_candidates
from qlvit_edge.calibration.sensitivity import Cost, LayerCost, Sensitivity, cost_of
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import MapMixing
from qlvit_edge.converters.int16_layers import int16_candidates, with_int16_layers
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.names import layer_of, layers_of
from qlvit_edge.converters.proof.equality import prove_equal
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.model.family import FAMILY
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.preprocess import preprocess
from qlvit_edge.training.checkpoint import load_checkpoint

GENEROUS = ("--max-drop", 100)


def calibrated(root: Path, **changes: object) -> Path:
    """A calibrated run folder with its data beside it."""
    write_run(root / "run", write_folder(root / "cells", 7), small_config(**changes))
    assert run_command("calibrate", root / "run", "--images", 8) == 0
    return root / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the plain network."""
    return calibrated(tmp_path_factory.mktemp("int16"))


def views_for(run: Path, count: int) -> np.ndarray:
    """Images (count, h, w, channels) as the network takes them."""
    network = load_checkpoint(run).run.network
    shown = [cell_image(index % 4, 50 + index) for index in range(count)]
    return np.stack([preprocess(v, network.input_size, network.channels) for v in shown])


def graph_and_ranges(run: Path) -> tuple[Graph, dict[str, tuple[float, float]]]:
    checkpoint = load_checkpoint(run)
    calibration = load_calibration(run / "calibration.json", checkpoint.sha256)
    ranges = {name: tensor.minmax for name, tensor in calibration.tensors.items()}
    return integer_graph(checkpoint, calibration, "fast", MapMixing), ranges


@contextmanager
def silent(_: str, __: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def require_proof(run: Path, layers: list[str]) -> None:
    plain, ranges = graph_and_ranges(run)
    changed = with_int16_layers(plain, layers, ranges).graph
    content = write_tflite(changed)
    assert audit_integer_only(read_document(content)).passed
    for arithmetic in ("xnnpack", "reference"):
        equality = prove_equal(changed, content, views_for(run, 2), arithmetic)
        assert equality.unequal == {}
        assert equality.tensors == len(changed.operations) > 100


def test_every_tensor_is_proven_with_every_layer_in_int16(run: Path) -> None:
    require_proof(run, list(int16_candidates(graph_and_ranges(run)[0])))


@pytest.mark.slow
@pytest.mark.parametrize("member", FAMILY)
def test_every_tensor_is_proven_in_the_whole_family(member: str, tmp_path: Path) -> None:
    run = calibrated(tmp_path, **FAMILY[member])
    require_proof(run, list(int16_candidates(graph_and_ranges(run)[0])))


def test_each_layer_alone_is_proven(run: Path) -> None:
    for layer in ("stem", "block0/attention", "block1/residual", "block2/dynamic", "block0/kan"):
        require_proof(run, [layer])


def test_an_activation_of_the_layer_is_int16_and_all_others_stay_as_they_were(run: Path) -> None:
    plain, ranges = graph_and_ranges(run)
    changed = with_int16_layers(plain, ["block1/residual"], ranges)
    assert changed.activations == {"block1/residual": ("block1/residual",)}
    now = {tensor.name: tensor for tensor in changed.graph.tensors()}
    assert now["block1/residual"].dtype == "int16"
    low, high = ranges["block1/residual"]
    assert now["block1/residual"].scale == pytest.approx(max(-low, high) / 32767, rel=0.02)
    for operation in plain.operations:
        before = operation.output
        if before.name != "block1/residual":
            assert now[before.name].dtype == before.dtype
            assert now[before.name].quantisation == before.quantisation


def test_whatever_can_reads_an_int16_activation_in_int16(run: Path) -> None:
    graph, ranges = graph_and_ranges(run)
    changed = with_int16_layers(graph, int16_candidates(graph), ranges)
    names = {name for chosen in changed.activations.values() for name in chosen}
    wide = {*names, *(f"{name}/int8" for name in names)}
    in_int8 = {t.name for t in changed.graph.tensors() if t.dtype == "int8"}
    readers = {
        operation.name: tensor.name
        for operation in changed.graph.operations
        if type(operation).__name__ in {"Conv2D", "DepthwiseConv2D", "Add", "BatchMatMul"}
        for tensor in operation.inputs
        if tensor.name in wide and tensor.name in in_int8
    }
    assert not readers


def test_nothing_chosen_is_the_same_file(run: Path) -> None:
    plain, ranges = graph_and_ranges(run)
    assert write_tflite(with_int16_layers(plain, [], ranges).graph) == write_tflite(plain)


def test_what_int8_clips_and_what_only_int8_reads_stays_int8(run: Path) -> None:
    plain, _ = graph_and_ranges(run)
    found = int16_candidates(plain)
    assert set(found) <= set(layers_of(plain))
    names = {name for layer in found.values() for name in layer}
    assert all(layer_of(name) == layer for layer, own in found.items() for name in own)
    assert not any(name.endswith(("/gate", "/ramps", "/position")) for name in names)
    assert "head" not in found
    assert "block1/skip" not in found  # pooling reads it


def test_int16_layers_make_up_for_ranges_that_are_much_too_wide(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    calibration = load_calibration(run / "calibration.json", checkpoint.sha256)
    stream = [n for n in calibration.tensors if n.endswith(("/residual", "/joined", "/project"))]
    tensors = dict(calibration.tensors)
    for name in stream:
        low, high = tensors[name].minmax
        wide = (20 * low, 20 * high)
        tensors[name] = tensors[name].model_copy(update={"minmax": wide, "mse": wide})
    spoiled = calibration.model_copy(update={"tensors": tensors})
    views = views_for(run, 8)
    choice = choose_int16_layers(checkpoint, spoiled, "fast", views, 8, silent)
    assert choice.before == cost_of(checkpoint, choice.plain, views)
    assert choice.before.sqnr_db is not None
    assert choice.after.sqnr_db is not None
    assert choice.after.sqnr_db > choice.before.sqnr_db + 3


def cost(layer: str, share: float) -> LayerCost:
    return LayerCost(layer, share, Cost(10.0, 0.1, 1.0, None), None)


def test_layers_without_an_int16_form_are_passed_over_and_named() -> None:
    layers = [cost("a", 0.1), cost("b", 0.5), cost("c", 0.3), cost("d", 0.1)]
    found = Sensitivity(4, None, Cost(10.0, 0.1, 1.0, None), layers)
    chosen, skipped = worst_candidates(found, {"a", "c"}, 1)
    assert ([c.layer for c in chosen], skipped) == (["c"], ("b",))
    chosen, skipped = worst_candidates(found, {"a", "c"}, 9)
    assert ([c.layer for c in chosen], skipped) == (["c", "a"], ("b", "d"))


@pytest.fixture(scope="module")
def converted(run: Path) -> Path:
    out = run.parent / "out" / "int16.tflite"
    report = out.with_name("proof.json")
    arguments = ("--int16-layers", 2, "--images", 4, "--report", report, *GENEROUS)
    assert run_command("convert", run, "--out", out, *arguments) == 0
    return out


def test_the_report_says_which_activations_are_int16_and_what_that_costs(converted: Path) -> None:
    report = json.loads(converted.with_name("proof.json").read_text())
    assert report["equality"]["unequal"] == {}
    found = report["int16_layers"]
    assert len(found["layers"]) == 2
    shares = [layer["share"] for layer in found["layers"]]
    assert shares == sorted(shares, reverse=True)
    assert found["time_ratio"] > 0
    assert found["int8"]["p50_ms"] > 0
    assert found["int16"]["relative_rms"] > 0
    types = {tensor.name: tensor.dtype for tensor in read_document(converted.read_bytes()).tensors}
    for layer in found["layers"]:
        assert layer["int16"]
        assert {types[name] for name in layer["int16"]} == {"INT16"}


def test_the_same_layers_give_the_same_bytes_and_are_printed(
    converted: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.tflite"
    capsys.readouterr()
    assert (
        run_command("convert", run, "--out", out, "--int16-layers", 2, "--images", 4, *GENEROUS)
        == 0
    )
    assert out.read_bytes() == converted.read_bytes()
    printed = capsys.readouterr().out
    assert "Layers in int16" in printed
    assert "times as long" in printed


def test_inspect_and_benchmark_take_the_file(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run_command("inspect", converted) == 0
    assert "integers only" in capsys.readouterr().out
    assert run_command("benchmark", converted, "--rounds", 1, "--warmup", 0) == 0


@pytest.mark.parametrize("others", [("--target", "edgetpu"), ("--route", "onnx")])
def test_other_targets_and_routes_have_no_int16_layers(
    others: tuple[str, str], run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "convert", run, "--out", tmp_path / "m", "--int16-layers", 2, *others)
    assert line.startswith("error: --int16-layers: ")
    assert files_below(tmp_path) == set()
