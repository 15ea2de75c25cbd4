"""`compare`: a row for every file, also for those that fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import files_below, refused, run_command
from python_program import python_program
from small_run import small_config, write_folder, write_run

from qlvit_edge.converters.routes import environment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run folder with its data beside it."""
    root = tmp_path_factory.mktemp("compared")
    write_run(root / "cells", write_folder(root / "data", 5), small_config())
    assert run_command("calibrate", root / "cells", "--images", 8) == 0
    return root / "cells"


@pytest.fixture(scope="module")
def table(run: Path) -> Path:
    """The table of routes native and onnx, and of an onnx2tf that fails, as JSON and picture."""
    program = python_program(
        run.parent / "python",
        "import sys\nif '-c' in sys.argv: print(); sys.exit()\n"
        "print('no luck today')\nsys.exit(3)\n",
    )
    out = run.parent / "out"
    arguments = ("--rounds", 2, "--json", out / "t.json", "--plot", out / "t.png")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(run.parent)
        assert run_command("compare", run, "--python", program, *arguments) == 0
    return out / "t.json"


def _rows(table: Path) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(table.read_text())["rows"]}


def test_every_file_of_every_route_has_a_row(table: Path) -> None:
    assert list(_rows(table)) == [
        "PyTorch eager, float32",
        "native int8, fast",
        "native int8, exact",
        "native float32",
        "ONNX Runtime, float32",
        "ONNX Runtime, dynamic int8",
        "onnx2tf float32",
        "onnx2tf float16",
        "onnx2tf dynamic-range",
        "onnx2tf full-integer",
    ]
    assert files_below(table.parent) == {"t.json", "t.png"}


def test_rows_that_ran_have_accuracy_latency_and_memory(table: Path) -> None:
    for name, row in _rows(table).items():
        if name.startswith("onnx2tf"):
            continue
        assert 0 <= row["accuracy"] <= 1, name
        assert row["latency_ms"] > 0, name
        assert row["peak_bytes"] > 0, name
        if row["route"] != "pytorch":
            assert row["bytes"] > 0, name
            assert row["convert_seconds"] >= 0, name


def test_integers_leave_no_float_tensor_and_are_checked_without_the_delegate(table: Path) -> None:
    rows = _rows(table)
    assert rows["native int8, fast"]["float_tensors"] == 0
    assert rows["native float32"]["float_tensors"] > 100
    assert rows["native int8, fast"]["partitions"] > 0
    assert rows["native int8, exact"]["agreement_builtin"] is not None
    assert rows["ONNX Runtime, float32"]["agreement"] == 1.0
    assert rows["ONNX Runtime, float32"]["failure"] is None


def test_a_route_that_fails_is_a_row_with_its_error(table: Path) -> None:
    row = _rows(table)["onnx2tf full-integer"]
    assert "onnx2tf failed (exit code 3): no luck today" in row["failure"]
    assert row["accuracy"] is None
    assert row["latency_ms"] is None


def test_without_an_environment_the_row_says_how_to_make_one(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    arguments = ("--routes", "onnx2tf", "--images", 4, "--rounds", 1)
    assert run_command("compare", run, *arguments) == 0
    printed = capsys.readouterr().out
    assert "not made" in printed
    assert "make onnx2tf-env" in " ".join(printed.split())
    assert "research use only" in printed
    assert files_below(tmp_path) == set()


def test_an_unknown_route_is_refused(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("compare", run, "--routes", "native,tensorrt") == 2
    assert "'tensorrt' is not one of native, onnx, onnx2tf" in capfd.readouterr().err


def test_a_folder_where_the_table_should_go_is_refused_before_any_work(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert str(tmp_path) in refused(capfd, "compare", run, "--json", tmp_path)
