"""`convert --route onnx`: an ONNX file that ONNX Runtime runs as PyTorch runs the network."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command import files_below, refused, run_command
from small_run import CLASSES, settled_network, small_config, write_folder, write_run

from qlvit_edge.converters.routes import files, ort
from qlvit_edge.converters.routes import onnx as route
from qlvit_edge.converters.routes.closeness import FLOAT32, Closeness, compare_logits
from qlvit_edge.converters.routes.export_modules import export_copy
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.family import FAMILY
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import PREPROCESSING
from qlvit_edge.training.checkpoint import Checkpoint, load_checkpoint

VARIANTS: dict[str, Mapping[str, Any]] = {
    **FAMILY,
    "plain softmax": {"softmax": "float"},
    "rectangle": {"input_size": (64, 96)},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("onnx")
    write_run(root / "my cells µ", write_folder(root / "data", 5), small_config())
    return root / "my cells µ"


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """The file made from it, its report beside it."""
    out = run.parent / "out put" / "modèle.onnx"
    report = out.with_name("report.json")
    assert run_command("convert", run, "--route", "onnx", "--out", out, "--report", report) == 0
    return out


def _checkpoint(config: NetworkConfig, like: Path) -> Checkpoint:
    """A checkpoint of another network, everything else as in the run."""
    torch.manual_seed(1)
    trained = load_checkpoint(like)
    network = QLViT(config)
    with torch.no_grad():
        for _ in range(3):
            network(255 * torch.rand(8, config.channels, *config.input_size))
    network.eval()
    changed = trained.run.model_copy(update={"network": config})
    return Checkpoint(trained.folder, changed, network, trained.sha256)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_gives_pytorchs_logits(run: Path, changes: dict[str, Any]) -> None:
    config = small_config(**changes)
    checkpoint = _checkpoint(config, run)
    views = np.random.default_rng(0).integers(
        0, 256, (6, *config.input_size, config.channels), np.uint8
    )
    found = ort.onnx_logits(route.export_onnx(checkpoint), views)
    with torch.inference_mode():
        images = torch.from_numpy(views).permute(0, 3, 1, 2).float()
        expected = checkpoint.network(images).double().numpy()
    closeness = compare_logits(expected, found)
    assert closeness.within(FLOAT32), closeness.words


def test_the_network_itself_is_left_alone_and_pooling_needs_no_padding() -> None:
    network = settled_network(small_config())
    image = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
        copied = export_copy(network, unpadded_pooling=True)
        assert not any(isinstance(module, torch.nn.MaxPool2d) for module in copied.modules())
        torch.testing.assert_close(copied(image), before, atol=0.02, rtol=0.02)
        assert torch.equal(network(image), before)


def test_the_file_takes_raw_pixels_and_carries_labels_and_origin(exported: Path, run: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [17]
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 64, 64]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["labels"]) == list(CLASSES)
    assert properties["preprocessing"] == PREPROCESSING
    assert properties["name"] == "my cells µ"
    assert properties["checkpoint_sha256"] == load_checkpoint(run).sha256
    assert "research" in properties["intended_use"]
    assert str(run.parent).encode() not in exported.read_bytes()


def test_no_gradient_detour_is_left(exported: Path) -> None:
    """`x + (rounded - x)` became `rounded`: one exponential a softmax is left."""
    operators = [node.op_type for node in onnx.load(exported).graph.node]
    assert operators.count("Exp") == operators.count("LogSoftmax") == 8


def test_two_exports_give_the_same_bytes(exported: Path, run: Path) -> None:
    assert route.export_onnx(load_checkpoint(run)) == exported.read_bytes()


def test_the_report_gives_figures_and_bounds(exported: Path) -> None:
    report = json.loads(exported.with_name("report.json").read_text())
    assert report["closeness"]["images"] == 4
    assert report["closeness"]["median"] <= report["bound"]["median"]
    assert report["bytes"] == exported.stat().st_size
    assert report["accuracy"]["pytorch"] == report["accuracy"]["onnxruntime"]
    assert files_below(exported.parent) == {exported.name, "report.json"}


def test_another_networks_logits_are_refused_and_nothing_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = ort.onnx_logits
    monkeypatch.setattr(files, "onnx_logits", lambda *arguments: real(*arguments)[:, ::-1])
    line = refused(capfd, "convert", run, "--route", "onnx", "--out", tmp_path / "m.onnx")
    assert "not written: ONNX Runtime does not give PyTorch's logits (off by" in line
    assert files_below(tmp_path) == set()


def test_a_missing_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name)
    )
    line = refused(capfd, "convert", run, "--route", "onnx", "--out", tmp_path / "m.onnx")
    assert "needs onnxruntime, which is not installed; pip install 'qlvit-edge[onnx]'" in line


@pytest.mark.parametrize(
    ("route_name", "option", "owner"),
    [
        ("onnx", ("--softmax", "exact"), "native"),
        ("onnx2tf", ("--softmax", "fast"), "native"),
        ("onnx", ("--max-drop", "3"), "native or onnx2tf"),
        ("onnx", ("--python", "python3"), "onnx2tf"),
        ("native", ("--python", "python3"), "onnx2tf"),
    ],
)
def test_options_of_another_route_are_refused(
    route_name: str,
    option: tuple[str, str],
    owner: str,
    run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "m"
    line = refused(capfd, "convert", run, "--route", route_name, "--out", out, *option)
    assert f"{option[0]}: belongs to --route {owner}, not {route_name}" in line


def test_closeness_is_narrow_for_the_median_and_wide_for_the_worst() -> None:
    expected = np.random.default_rng(0).normal(size=(100, 4))
    found = expected.copy()
    found[0] += 0.2 * expected.std()
    assert compare_logits(expected, found).within(FLOAT32)
    assert not compare_logits(expected, expected + 0.01 * expected.std()).within(FLOAT32)
    few = compare_logits(expected[:40], found[:40])
    assert Closeness(40, 0.0, few.worst, 39 / 40).within(FLOAT32)
    assert not Closeness(40, 0.0, few.worst, 38 / 40).within(FLOAT32)
    assert Closeness(400, 0.0, few.worst, 392 / 400).within(FLOAT32)
    assert not Closeness(400, 0.0, few.worst, 391 / 400).within(FLOAT32)
    found[0, 0] = np.nan
    broken = compare_logits(expected, found)
    assert not broken.within(FLOAT32)
    assert broken == Closeness(100, broken.median, broken.worst, 0.0)
