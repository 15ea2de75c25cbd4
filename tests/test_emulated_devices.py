"""The benchmark that validates on emulated devices: what it shows, and what it calls the same."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("arm64_validate", "arm64_userland"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("arm64_validate")


def report(**changes: Any) -> dict[str, Any]:
    agreement = {
        "exact": True,
        "compared": 58,
        "missing": 0,
        "inputs_that_differ": 0,
        "outputs_that_differ": 0,
        "answers_that_differ": 0,
        "largest_difference": 0.0,
    }
    golden = {"passed": changes.pop("golden", True), "equal": 12, "compared": 12}
    return {
        "agreement": agreement | changes,
        "golden": golden,
        "machine": {"packages": {"ai-edge-litert": "2.3.0"}},
        "kernels": {"used": "XNNPACK (16 partitions, 93 builtin operators)"},
        "verdict": {"outcome": "may be used"},
    }


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"outputs_that_differ": 1}, False),
        ({"inputs_that_differ": 1}, False),
        ({"missing": 1}, False),
        ({"exact": False}, False),
        ({"golden": False}, False),
        ({"golden": None}, False),
    ],
)
def test_the_same_bytes_are_all_of_them(
    changes: dict[str, Any], same: bool, benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    given = report(**changes)
    assert benchmark.row("cortex-a72", "litert", "auto", given, 1.0) is same
    assert "| cortex-a72 | litert 2.3.0 | XNNPACK |" in capsys.readouterr().out
    assert benchmark.row("cortex-a72", "tflite-runtime", "auto", given, 1.0) is True  # no proof
    assert benchmark.row("cortex-a72", "tflite-runtime", "reference", given, 1.0) is same


def test_at_least_fifty_real_images_are_shown(benchmark: ModuleType, tmp_path: Path) -> None:
    assert benchmark.write_images(tmp_path / "images", None) >= 50
    folders = {path.name for path in (tmp_path / "images").iterdir()}
    assert {"whole fields", "cells of fields", "neutrophil"} <= folders
