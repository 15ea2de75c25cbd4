"""Sensitivity: one layer at a time in the other arithmetic, and whom `convert` blames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command import refused, run_command
from small_run import cell_image, small_config, write_folder, write_run

from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.calibration.hybrid import Hybrid
from qlvit_edge.calibration.sensitivity import measure
from qlvit_edge.converters.idioms.numerics import Float
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.names import layer_of, layers_of
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.model.family import FAMILY
from qlvit_edge.preprocess import decode, preprocess
from qlvit_edge.training.checkpoint import load_checkpoint


def calibrated(root: Path, **changes: object) -> Path:
    """A calibrated run folder with its data beside it."""
    write_run(root / "run", write_folder(root / "cells", 7), small_config(**changes))
    assert run_command("calibrate", root / "run", "--images", 8) == 0
    return root / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the plain network."""
    return calibrated(tmp_path_factory.mktemp("sensitive"))


def views_for(run: Path, count: int = 4) -> np.ndarray:
    """Images (count, h, w, channels) as the network takes them."""
    network = load_checkpoint(run).run.network
    return np.stack(
        [
            preprocess(cell_image(index % 4, 50 + index), network.input_size, network.channels)
            for index in range(count)
        ]
    )


@contextmanager
def silent(_description: str, _total: int) -> Iterator[Callable[[], None]]:
    """A progress bar that shows nothing."""
    yield lambda: None


def spoil(run: Path, layer: str, factor: float = 0.02) -> Path:
    """Shrink every calibrated range of a layer."""
    path = run / "calibration.json"
    content = json.loads(path.read_text())
    own = [name for name in content["tensors"] if layer_of(name) == layer]
    assert own
    for name in own:
        for observer in ("minmax", "percentile", "mse", "entropy", "moving"):
            low, high = content["tensors"][name][observer]
            content["tensors"][name][observer] = [factor * low, factor * high]
    path.write_text(json.dumps(content))
    return run


def test_layers_are_the_parts_of_the_network(run: Path) -> None:
    graph = lower(load_checkpoint(run).network, Writer("x", Float()))
    layers = layers_of(graph)
    assert layers[0] == "stem"
    assert layers[-1] == "head"
    parts = ("dynamic", "activation", "attention", "residual", "kan", "out")
    assert {f"block2/{part}" for part in (*parts, "skip")} <= set(layers)
    assert len(layers) == 2 + 4 * len(parts) + 3


@pytest.mark.slow
@pytest.mark.parametrize("changes", FAMILY.values(), ids=FAMILY)
def test_a_layer_of_the_same_arithmetic_changes_nothing(
    changes: dict[str, object], tmp_path: Path
) -> None:
    run = calibrated(tmp_path, **changes)
    checkpoint, views = load_checkpoint(run), views_for(run, 2)
    calibration = load_calibration(run / "calibration.json", checkpoint.sha256)
    floating = lower(checkpoint.network, Writer("float", Float()))
    integer = integer_graph(checkpoint, calibration, "fast")
    assert layers_of(floating) == layers_of(integer)
    for graph in (floating, integer):
        whole = Interpreter(write_tflite(graph))
        for view in views:
            expected = graph.outputs[0].real(whole.invoke(view.astype(whole.input.dtype))[0])
            for layer in layers_of(graph):
                logits = Hybrid(graph, graph, layer)(view)
                assert np.abs(logits - expected).max() < 0.02 * np.abs(expected).max(), layer
    # And every layer has its counterparts at both borders, in either direction.
    for layer in layers_of(floating):
        for around, inside in ((floating, integer), (integer, floating)):
            assert np.isfinite(Hybrid(around, inside, layer)(views[0])).all()


def test_an_unknown_layer_is_refused(run: Path) -> None:
    graph = lower(load_checkpoint(run).network, Writer("x", Float()))
    with pytest.raises(ConversionError, match="no such layer; name one of stem, block0/dynamic"):
        Hybrid(graph, graph, "block9/kan")


@pytest.mark.slow
# Not a dynamic convolution: its one range is its result's, which what follows reads in int8.
@pytest.mark.parametrize("layer", ["block2/attention", "block1/kan", "block3/kan", "stem"])
def test_a_spoiled_layer_is_found_from_either_side(layer: str, run: Path, tmp_path: Path) -> None:
    spoiled = spoil(Path(shutil.copytree(run, tmp_path / "run")), layer)
    checkpoint, views = load_checkpoint(spoiled), views_for(spoiled)
    calibration = load_calibration(spoiled / "calibration.json", checkpoint.sha256)
    found = measure(checkpoint, calibration, "fast", views, [0, 1, 2, 3], silent)
    assert found.worst()[0].layer == layer
    assert sum(cost.share for cost in found.layers) == pytest.approx(1)
    spared = min(found.layers, key=lambda cost: cost.without.relative_rms if cost.without else 9)
    assert spared.layer == layer
    assert spared.without is not None
    assert spared.without.relative_rms < 0.8 * found.whole.relative_rms


def test_convert_names_the_spoiled_layer_first(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlvit_edge.converters.proof import accuracy

    over = accuracy.BudgetVerdict(0.5, "over the budget", "as with trained weights")
    monkeypatch.setattr(accuracy, "judge_budget", lambda *_, **__: over)
    spoiled = spoil(Path(shutil.copytree(run, tmp_path / "run")), "block2/attention")
    out, report = tmp_path / "m.tflite", tmp_path / "proof.json"
    arguments = ("convert", spoiled, "--out", out, "--report", report)
    capfd.readouterr()
    assert run_command(*arguments) == 1
    shown = capfd.readouterr().out
    assert not out.exists()
    named = shown[shown.index("Layers that cost most") :].splitlines()
    assert named[1].startswith("  block2/attention: ")
    assert len(named) >= 5
    assert "--compare" in shown
    assert json.loads(report.read_text())["blame"][0]["layer"] == "block2/attention"


def test_the_command_measures_and_draws(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("sensitivity", run, "--images", 4, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 4
    assert found["origin"] == "training images that calibration did not use"
    assert {"share", "alone", "without"} <= set(found["layers"][0])
    assert decode(run / "sensitivity.png").std() > 5


@pytest.mark.slow
def test_the_table_is_worst_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("sensitivity", run, "--images", 4) == 0
    shown = capsys.readouterr().out
    assert "all layers in integers: SQNR" in shown
    assert "block3/kan" in shown


def test_bad_input(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no such run folder" in refused(capfd, "sensitivity", tmp_path / "none")
    other = Path(shutil.copytree(run, tmp_path / "run"))
    (other / "calibration.json").unlink()
    assert "run `qlvit-edge calibrate" in refused(capfd, "sensitivity", other)
    line = refused(capfd, "sensitivity", run, "--data", tmp_path / "nothing")
    assert "nothing" in line
