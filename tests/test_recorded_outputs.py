"""The record that arm64 is compared with is what this machine computes today."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qlvit_edge import bundled
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.modelfile.reader import read_document

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("outputs") / "outputs.json"
    models = sorted(bundled.FOLDER.glob("*/*.tflite"))
    command = [sys.executable, "-P", ROOT / "benchmarks" / "outputs.py", *models]
    subprocess.run([*command, "--images", bundled.FOLDER, "--out", out], check=True)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads((ROOT / "tests" / "fixtures" / "outputs_x86.json").read_text())


def test_every_bundled_image_and_model_is_recorded(today: dict, recorded: dict) -> None:
    assert today["models"].keys() == recorded["models"].keys()
    assert len(recorded["images"]) > 30


def test_pixels_and_inputs_are_the_recorded_ones(today: dict, recorded: dict) -> None:
    assert today["images"] == recorded["images"]
    for name, entry in recorded["models"].items():
        assert today["models"][name]["inputs"] == entry["inputs"]


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_logits_and_every_tensor_are_the_recorded_ones(
    today: dict, recorded: dict, kernels: str
) -> None:
    for name, entry in recorded["models"].items():
        assert today["models"][name]["sha256"] == entry["sha256"]
        assert today["models"][name][kernels]["logits"] == entry[kernels]["logits"]
        assert today["models"][name][kernels]["ran"] == entry[kernels]["ran"]
        every, there = (
            today["models"][name][kernels]["every_tensor"],
            entry[kernels]["every_tensor"],
        )
        assert len(every["images"]) == 12
        assert every == there
        operators = len(read_document(bundled.resolve_model(name)).operators)
        assert len(every["tensors"].split()) == operators


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_golden_pairs_hold_on_these_kernels(recorded: dict, kernels: str) -> None:
    for name, entry in recorded["models"].items():
        metadata = read_metadata(bundled.resolve_model(name).read_bytes())
        assert metadata is not None
        claimed = kernels == "reference" or metadata.format_version > 1
        assert entry[kernels]["golden"]["passed"] is (True if claimed else None)


def _as_found(recorded: dict) -> dict:
    """Return the record as an emulated processor would have made it, golden pairs and all."""
    found = copy.deepcopy(recorded) | {"machine": "aarch64"}
    for entry in found["models"].values():
        for kernels in ("auto", "reference"):
            entry[kernels]["golden"] |= {"passed": True}
    return found


def _wrong_tensor(entry: dict) -> None:
    first, rest = entry["auto"]["every_tensor"]["tensors"].split(" ", 1)
    entry["auto"]["every_tensor"]["tensors"] = f"{'0' * len(first)} {rest}"


def _wrong_image(entry: dict) -> None:
    images = entry["reference"]["every_tensor"]["images"]
    images[next(iter(images))] = "0" * 64


def _wrong_logits(entry: dict) -> None:
    logits = entry["auto"]["logits"]
    logits[next(iter(logits))] = "0 0 0 0"


def _failing_pair(entry: dict) -> None:
    entry["auto"]["golden"]["passed"] = False


def _other_partitions(entry: dict) -> None:
    entry["auto"]["ran"] = "builtin (348 builtin operators, XNNPACK took none)"


@pytest.mark.parametrize(
    "change", [_wrong_tensor, _wrong_image, _wrong_logits, _failing_pair, _other_partitions]
)
def test_the_comparison_of_arm64_sees_every_difference(
    recorded: dict, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], None]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    compare = importlib.import_module("arm64").compare
    found = _as_found(recorded)
    assert compare("cortex-a76", found, recorded)
    change(found["models"]["blood-nano"])
    assert not compare("cortex-a76", found, recorded)
