"""`benchmark` measures models in turns, says what it measured, and refuses in one line."""

from __future__ import annotations

import importlib.util
import json
import os
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from command import files_below, refused, run_command
from tiny_model import tiny_model

from qlvit_edge.inference import network
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.inference.worker import Case, Worker
from qlvit_edge.measuring.benchmark import measure, shuffled_orders
from qlvit_edge.measuring.machine import Machine
from qlvit_edge.modelfile.arena import arena_bytes
from qlvit_edge.modelfile.reader import read_document

FEW = ("--rounds", "2", "--warmup", "0")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_model())
    return path


def test_every_combination_is_a_row_relative_to_the_first(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    floating = tmp_path / "float.tflite"
    floating.write_bytes(tiny_model(floating=True))
    out, plot = tmp_path / "speed.json", tmp_path / "speed.png"
    code = run_command(
        "benchmark", tiny, floating, "--kernels", "auto,reference", *FEW,
        "--json", out, "--plot", plot,
    )  # fmt: skip
    assert code == 0
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert [(row["model"], row["kernels"]) for row in rows] == [
        ("tiny", "auto"),
        ("tiny", "reference"),
        ("float", "auto"),
        ("float", "reference"),
    ]
    assert rows[0]["ratio"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["images_per_second"] == pytest.approx(1e3 / row["p50_ms"])
        assert row["start_up_s"] > 0
        assert row["peak_bytes"] > row["bare_bytes"] > 1e6
        assert row["peak_above_bare_bytes"] == row["peak_bytes"] - row["bare_bytes"]
        assert row["macs"] == 8 * 8 * 9 + 9
        assert row["bytes"] == Path(row["file"]).stat().st_size
    assert rows[0]["partitions"] >= 1
    assert rows[1]["partitions"] == 0
    assert rows[1]["operators_left"] == 4
    assert found["machine"]["cores"] >= 1
    assert found["order_seed"] == 0
    assert "ai-edge-litert" in found["machine"]["packages"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert "float" in output
    assert "shuffled every round (seed 0)" in " ".join(output.split())
    assert f"tiny, auto: {rows[0]['arithmetic']}\n" in output
    assert rows[0]["arithmetic"] == "XNNPACK arithmetic, not proved for a file of another tool"
    assert rows[1]["arithmetic"] == "reference arithmetic, not proved for a file of another tool"
    assert rows[2]["arithmetic"] == "XNNPACK arithmetic, not proved for floats"
    assert Machine(**found["machine"]).words.split(";")[0].split("(")[0].strip() in output


def test_a_bundled_name_is_a_model_and_threads_are_rows(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    assert run_command("benchmark", "blood-nano", "--threads", "1,2", *FEW, "--json", out) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["threads"] for row in rows] == [1, 2]
    assert {row["model"] for row in rows} == {"blood-nano"}
    assert {row["arithmetic"] for row in rows} == {str(Classifier("blood-nano").arithmetic)}


def test_profile_gives_every_operator_of_our_network_a_part_and_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    assert run_command("benchmark", "blood-nano", *FEW, "--profile", "--json", out) == 0
    profile = json.loads(out.read_text())["profiles"]["blood-nano"]
    parts = {part["part"]: part for part in profile["parts"]}
    assert set(parts) == {
        "activation",
        "attention products",
        "dynamic convolution",
        "head",
        "KAN",
        "layout",
        "projections",
        "residual",
        "runtime and unassigned",
        "softmax",
        "stem and skip convolutions",
    }
    assert sum(part["share"] for part in profile["parts"]) == pytest.approx(1)
    assert profile["unlike_share"] < 0.02
    document = read_document(Path(json.loads(out.read_text())["rows"][0]["file"]))
    assert sum(part["macs"] for part in profile["parts"]) == document.macs
    assert len(profile["operators"]) == len(document.operators)
    assert parts["projections"]["milliseconds"] > 0
    assert "softmax" in capsys.readouterr().out


def test_files_of_one_name_are_told_apart_by_their_folders(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "tiny.tflite"
    other.parent.mkdir()
    other.write_bytes(tiny_model(floating=True))
    out = tmp_path / "speed.json"
    assert run_command("benchmark", tiny, other, *FEW, "--json", out) == 0
    names = [row["model"] for row in json.loads(out.read_text())["rows"]]
    assert names == [str(tiny), str(other)]


def test_profile_of_a_foreign_model_is_by_operator(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    assert run_command("benchmark", tiny, *FEW, "--profile", "--json", out) == 0
    profile = json.loads(out.read_text())["profiles"]["tiny"]
    assert {"CONV_2D", "MEAN", "FULLY_CONNECTED"} <= {part["part"] for part in profile["parts"]}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "0"),
        ("--threads", "1,,2"),
        ("--threads", "two"),
        ("--threads", "65"),
        ("--kernels", "fastest"),
        ("--runtime", "litert,onnx"),
    ],
)
def test_lists_of_wrong_values_are_refused(
    tiny: Path, option: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command("benchmark", tiny, option, value) == 2
    error = capfd.readouterr().err
    assert option in error
    assert "Traceback" not in error


def test_what_is_no_model_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no such model file" in refused(capfd, "benchmark", tmp_path / "missing.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(tiny_model()[:300])
    assert "broken.tflite" in refused(capfd, "benchmark", broken)


def test_an_output_that_cannot_be_written_is_refused_before_measuring(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    refused(capfd, "benchmark", tiny, "--json", tmp_path)
    refused(capfd, "benchmark", tiny, "--plot", tiny / "plot.png")
    assert files_below(tmp_path) == before


@pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is not None, reason="tflite-runtime is installed"
)
def test_a_missing_runtime_is_said_in_one_line(
    tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "benchmark", tiny, "--runtime", "tflite-runtime", *FEW)
    assert "pip install tflite-runtime" in line


def test_a_crash_of_the_kernels_is_said_in_one_line(
    tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "first_run", os.abort)
    line = refused(capfd, "benchmark", tiny, "--kernels", "reference", *FEW)
    assert "SIGABRT" in line
    assert "reference" in line


def test_a_worker_runs_as_often_as_it_is_told(tiny: Path) -> None:
    with Worker(Case("tiny", tiny)) as worker:
        assert len(worker.run(7)) == 7
        assert all(value > 0 for value in worker.run(2))


def test_rounds_have_every_row_once_and_every_neighbour_in_turn() -> None:
    orders = list(islice(shuffled_orders(3), 40))
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    neighbours = {pair for order in orders for pair in pairwise(order)}
    assert neighbours == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert orders == list(islice(shuffled_orders(3), 40))
    assert orders != list(islice(shuffled_orders(3, seed=1), 40))


def test_measuring_counts_only_the_rounds_after_the_warm_up(tiny: Path) -> None:
    steps: list[int] = []
    (row,) = measure([Case("tiny", tiny)], 3, 2, lambda: steps.append(1), repeats=4)
    assert len(steps) == 5
    assert len(row.milliseconds) == 12
    assert row.ratios == [1.0, 1.0, 1.0]


def test_the_arena_is_as_large_as_the_interpreter_makes_it() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from qlvit_edge.bundled import resolve_model

    content = resolve_model("blood-nano").read_bytes()
    graph = read_document(content).subgraphs[0]
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    spans = []
    for index, tensor in enumerate(graph.tensors):
        if not tensor.is_constant:
            values = np.asarray(interpreter.tensor(index)())
            start = values.__array_interface__["data"][0]
            spans.append((start, start + values.nbytes))
    extent = max(end for _, end in spans) - min(start for start, _ in spans)
    assert arena_bytes(graph) == pytest.approx(extent, rel=0.02)
