"""The proof of a conversion: it can fail, is shared out among processes, says how far it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import files_below, refused, run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters import convert as conversion
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.proof import equality
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.training.checkpoint import load_checkpoint

# The small network has random weights: what integers cost it says nothing.
GENEROUS = ("--max-drop", 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run folder with its data beside it."""
    root = tmp_path_factory.mktemp("calibrated")
    write_run(root / "run", write_folder(root / "data", 5), small_config())
    assert run_command("calibrate", root / "run", "--images", 8) == 0
    return root / "run"


def test_a_file_that_differs_from_the_specification_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logits = np.zeros((2, 4), np.int8)
    found = equality.Equality("xnnpack", 2, 9, {"block0/out": 2}, logits, "XNNPACK")
    monkeypatch.setattr(equality, "prove_equal", lambda *_: found)
    line = refused(capfd, "convert", run, "--out", tmp_path / "m.tflite", "--images", 2)
    assert "1 of 9 tensors differ" in line
    assert "block0/out in 2 images" in line
    assert files_below(tmp_path) == set()


def _built(run: Path) -> tuple[Graph, bytes]:
    checkpoint = load_checkpoint(run)
    calibration = load_calibration(run / "calibration.json", checkpoint.sha256)
    graph = integer_graph(checkpoint, calibration, "fast")
    return graph, write_tflite(graph)


def _changed(graph: Graph, model: bytes) -> bytes:
    """Return the file with other weights in the stem."""
    changed = bytearray(model)
    stem = (t.data for t in graph.tensors() if t.name.startswith("stem") and t.dtype == "int8")
    weights = max((data for data in stem if data is not None), key=lambda data: data.size)
    place = model.index(np.ascontiguousarray(weights).tobytes())
    changed[place : place + 64] = bytes(255 - byte for byte in changed[place : place + 64])
    return bytes(changed)


@pytest.mark.parametrize("arithmetic", ["xnnpack", "reference"])
def test_comparison_finds_a_tensor_that_differs(
    run: Path, arithmetic: equality.Specification
) -> None:
    """The proof can fail: changed weights are seen."""
    graph, model = _built(run)
    views = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert equality.compare_tensors(graph, model, views, arithmetic).unequal == {}
    found = equality.compare_tensors(graph, _changed(graph, model), views, arithmetic)
    first, count = next(iter(found.unequal.items()))
    assert (first.startswith("stem"), count) == (True, 2)
    with pytest.raises(ConversionError, match=f"first {first} in 2 images"):
        found.require()


def test_without_xnnpack_nothing_is_proved(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /sys is hidden: the runtime silently goes without."""
    graph, model = _built(run)
    views = np.zeros((1, 64, 64, 3), np.uint8)
    without = Interpreter(model, kernels=Kernels.BUILTIN)
    monkeypatch.setattr(equality, "Interpreter", lambda *_, **__: without)
    with pytest.raises(ConversionError, match="XNNPACK is off on this machine"):
        equality.compare_tensors(graph, model, views, "xnnpack")


def test_images_are_shared_among_processes_and_put_in_order_again(run: Path) -> None:
    graph, model = _built(run)
    views = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    together = equality.prove_equal(graph, model, views, "xnnpack")
    alone = equality.compare_tensors(graph, model, views, "xnnpack")
    assert (together.images, together.tensors) == (5, alone.tensors)
    assert together.unequal == alone.unequal == {}
    for whole, part in zip(together.outputs, alone.outputs, strict=True):
        np.testing.assert_array_equal(whole, part)


@pytest.fixture
def _embedding_zeroes_the_head(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata go in, and the weights of the last layer become zeros."""
    graph, _ = _built(run)
    head = (t.data for t in graph.tensors() if t.name.startswith("head/logits"))
    weights = max((data for data in head if data is not None), key=lambda data: data.nbytes)
    content, real = np.ascontiguousarray(weights).tobytes(), conversion.embed

    def spoil(model: bytes, metadata: ModelMetadata) -> bytes:
        written = real(model, metadata)
        assert written.count(content) == 1
        return written.replace(content, bytes(len(content)))

    monkeypatch.setattr(conversion, "embed", spoil)


@pytest.mark.usefixtures("_embedding_zeroes_the_head")
def test_metadata_that_change_the_weights_are_refused(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is proved are the bytes that are written: here with a head of zeros."""
    line = refused(capfd, "convert", run, "--out", tmp_path / "m.tflite", "--images", 3, *GENEROUS)
    assert "metadata change its outputs" in line
    assert files_below(tmp_path) == set()


@pytest.mark.usefixtures("_embedding_zeroes_the_head")
@pytest.mark.parametrize(
    ("check", "finding"),
    [
        ("_require_same", "tensors differ from the integer specification"),
        ("_prove", "metadata change its outputs"),
    ],
)
def test_written_bytes_are_proved_twice_over(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    check: str,
    finding: str,
) -> None:
    """By all judged images' logits and by every tensor: either alone would find it."""
    monkeypatch.setattr(conversion, check, lambda *_: None)
    line = refused(capfd, "convert", run, "--out", tmp_path / "m.tflite", "--images", 3, *GENEROUS)
    assert finding in line


@pytest.mark.usefixtures("_embedding_zeroes_the_head")
def test_accuracy_is_that_of_the_written_bytes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With every other check off, the report still shows what a head of zeros costs."""
    same = conversion._prove
    good: list[Any] = []

    def prove(graph: Graph, model: bytes, *rest: Any) -> Any:
        found = same(graph, write_tflite(graph), *rest)
        good.append(found)
        return found

    monkeypatch.setattr(conversion, "_prove", prove)
    for check in ("_require_same", "_require_outputs"):
        monkeypatch.setattr(conversion, check, lambda *_: None)
    out, report = tmp_path / "m.tflite", tmp_path / "proof.json"
    assert run_command("convert", run, "--out", out, "--report", report, *GENEROUS) == 0
    capfd.readouterr()
    interpreter = Interpreter(out)
    labels = list(range(4))
    zeros = np.zeros(interpreter.input.shape, np.uint8)
    answer = labels[int(interpreter.invoke(zeros).argmax())]
    recalls = list(json.loads(report.read_text())["accuracy"]["file_recall"].values())
    assert recalls == [float(label == answer) for label in labels]


def test_the_proof_says_how_far_it_went(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "m.tflite", tmp_path / "proof.json"
    options = ("--images", 3, "--reference-images", 1, "--accuracy-images", 4)
    assert run_command("convert", run, "--out", out, "--report", report, *options, *GENEROUS) == 0
    found, split = json.loads(report.read_text()), json.loads((run / "split.json").read_text())
    assert found["equality"]["images"] == 3
    assert found["reference_equality"]["images"] == 1
    assert found["accuracy"]["images"] == 4
    printed = capsys.readouterr().out
    assert "byte for byte, on 3 images" in printed
    assert "byte for byte, on 1 image;" in printed
    assert found["reduced_proof"] is (len(split["test"]) > 4)
    assert found["sample"]["images"] == 4


def test_a_large_network_is_proved_on_fewer_images_by_default() -> None:
    small, large = 30_000_000, 2_000_000_000
    assert conversion.Extent().for_network(small, 2500) == (2500, 200, 200)
    assert conversion.Extent().for_network(large, 2500) == (200, 200, 8)
    assert conversion.Extent().for_network(large, 5) == (5, 5, 5)
    assert conversion.Extent(50, 20, 300).for_network(large, 2500) == (300, 50, 20)
    assert conversion.Extent(200, None, 100).for_network(small, 2500) == (100, 100, 100)
