"""What is claimed of the kernels that run, on which runtime, and which versions are refused."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge.converters import ops
from qlvit_edge.errors import DeviceError
from qlvit_edge.inference.arithmetic import (
    OLDEST,
    PROVED,
    WRITTEN_OPERATORS,
    Arithmetic,
    installed_runtimes,
    require_version,
    running_arithmetic,
    runtime_version,
)
from qlvit_edge.inference.golden import compare_golden
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.inference.native import load_runtime
from qlvit_edge.modelfile.metadata import embed

ROOT = Path(__file__).parents[1]
Installed = Callable[..., None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Pretend that these versions are installed, on this architecture."""

    def pretend(architecture: str = "x86_64", **versions: str) -> None:
        def version(name: str) -> str:
            try:
                return versions[name.replace("-", "_")]
            except KeyError:
                raise importlib.metadata.PackageNotFoundError(name) from None

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(platform, "machine", lambda: architecture)
        runtime_version.cache_clear()

    yield pretend
    runtime_version.cache_clear()


def _running(runtime: str = "litert", **changes: Any) -> Arithmetic:
    facts: dict[str, Any] = {
        "reference": False,
        "partitions": 3,
        "file_format": 2,
        "operators": {"CONV_2D", "MUL"},
    }
    return running_arithmetic(runtime, **(facts | changes))


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("version", ["2.2.0", "2.3.0"])
def test_both_arithmetics_are_proved_on_compared_runtimes(
    version: str, architecture: str, installed: Installed
) -> None:
    installed(architecture, ai_edge_litert=version)
    where = f"proved for ai-edge-litert {version} on {architecture}"
    assert str(_running()) == f"XNNPACK arithmetic, {where}"
    assert str(_running(reference=True, partitions=0)) == f"reference arithmetic, {where}"


@pytest.mark.parametrize(
    ("architecture", "versions", "runtime", "words"),
    [
        ("x86_64", {"ai_edge_litert": "2.4.0"}, "litert", "ai-edge-litert 2.4.0 on x86_64"),
        ("x86_64", {"ai_edge_litert": "2.3.1"}, "litert", "ai-edge-litert 2.3.1 on x86_64"),
        ("riscv64", {"ai_edge_litert": "2.3.0"}, "litert", "ai-edge-litert 2.3.0 on riscv64"),
        ("armv7l", {"tflite_runtime": "2.14.0"}, "tflite-runtime", "tflite-runtime 2.14.0"),
        (
            "x86_64",
            {"ai_edge_litert_nightly": "2.4.0.dev20261026"},
            "litert",
            "ai-edge-litert-nightly 2.4.0.dev20261026",
        ),
        ("x86_64", {}, "litert", "ai-edge-litert of unknown version on x86_64"),
    ],
)
def test_elsewhere_the_words_are_not_proved(
    architecture: str, versions: dict[str, str], runtime: str, words: str, installed: Installed
) -> None:
    installed(architecture, **versions)
    for kernels in ({}, {"reference": True}):
        running = _running(runtime, **kernels)
        assert not running.proved
        assert "not proved on this runtime" in str(running)
        assert words in str(running)
        assert "equal" not in str(running)


def test_operators_that_convert_does_not_write_are_not_proved(installed: Installed) -> None:
    """Whoever copies our metadata into another file makes no proof of it."""
    installed(ai_edge_litert="2.3.0")
    found = _running(operators={"CONV_2D", "FLOOR_MOD", "ARG_MAX"})
    assert not found.proved
    assert str(found).endswith(
        "not proved for ARG_MAX and FLOOR_MOD, which `convert` does not write"
    )


def test_the_list_of_written_operators_is_that_of_the_converter() -> None:
    sources = Path(ops.__file__).parent.glob("*.py")
    written = {
        name for path in sources for name in re.findall(r'Encoding\(\s*"(\w+)"', path.read_text())
    }
    assert {*written, "BITWISE_XOR", "FULLY_CONNECTED"} == WRITTEN_OPERATORS


def test_nothing_is_claimed_of_other_kernels_files_and_operators(installed: Installed) -> None:
    installed("aarch64", ai_edge_litert="2.3.0")
    for other in (_running(partitions=0), _running(delegate=True)):
        assert other.name is None
        assert not other.proved
    assert str(_running(integer=False)) == "XNNPACK arithmetic, not proved for floats"
    floating = Interpreter(embed(tiny_model(floating=True), metadata(golden=False)))
    assert "not proved for floats" in str(floating.arithmetic)
    assert "file of another tool" in str(_running(file_format=None))
    assert "format 1" in str(_running(file_format=1))
    assert _running(file_format=1, reference=True).proved
    softmax = _running(operators={"CONV_2D", "SOFTMAX"})
    assert str(softmax).endswith("on aarch64) for SOFTMAX")
    installed("x86_64", ai_edge_litert="2.3.0")
    assert _running(operators={"CONV_2D", "SOFTMAX"}).proved


@pytest.mark.parametrize("version", ["1.4.0", "2.0.3", "2.1.6", "2.1.0rc1"])
def test_versions_with_wrong_convolutions_are_refused(version: str, installed: Installed) -> None:
    installed(ai_edge_litert=version)
    with pytest.raises(DeviceError, match=re.escape(f"ai-edge-litert {version}: ")) as refused:
        load_runtime("litert")
    assert "255 steps where the stride exceeds the kernel" in str(refused.value)
    assert "pip install 'ai-edge-litert>=2.2'" in str(refused.value)


def test_newer_versions_and_the_other_runtime_are_not_refused(installed: Installed) -> None:
    for version in ("2.2.0", "2.10.1", "3.0", "2.4.0.dev20261026"):
        installed(ai_edge_litert=version)
        require_version("litert")
    installed(tflite_runtime="1.2.0")
    require_version("tflite-runtime")


def test_the_version_names_the_runtimes_and_what_is_claimed_of_them(installed: Installed) -> None:
    installed("aarch64", ai_edge_litert="2.3.0")
    assert installed_runtimes() == ["ai-edge-litert 2.3.0 on aarch64: its arithmetic is proved"]
    installed("aarch64", ai_edge_litert="2.4.0", tflite_runtime="2.14.0")
    assert installed_runtimes() == [
        "ai-edge-litert 2.4.0 on aarch64: not proved on this runtime",
        "tflite-runtime 2.14.0 on aarch64: not proved on this runtime",
    ]
    installed("aarch64", ai_edge_litert="2.1.6")
    (line,) = installed_runtimes()
    assert line.startswith("refused: ai-edge-litert 2.1.6: its convolutions are wrong")
    installed("aarch64")
    assert installed_runtimes() == []


def test_the_command_shows_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--version") == 0
    own, runtime, *_ = capsys.readouterr().out.splitlines()
    assert own == f"qlvit-edge, version {importlib.metadata.version('qlvit-edge')}"
    assert runtime == f"{runtime_version('litert')}: its arithmetic is proved"


def test_the_floor_is_that_of_the_package_and_the_tested_version_is_proved() -> None:
    floor = ".".join(map(str, OLDEST))
    assert f'"ai-edge-litert>={floor};' in (ROOT / "pyproject.toml").read_text()
    pinned = re.search(
        r"^ai-edge-litert==(\S+)", (ROOT / "requirements/constraints.txt").read_text(), re.M
    )
    assert pinned is not None
    assert ("ai-edge-litert", pinned[1], "x86_64") in PROVED
    for _, version, _ in PROVED:
        assert tuple(map(int, version.split(".")[:2])) >= OLDEST


def test_operators_that_arm64_rounds_otherwise_need_not_give_the_pairs(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = metadata()
    wrong = data.golden[0].model_copy(update={"xnnpack_logits": [0, 0, 0]})
    data = data.model_copy(update={"golden": [wrong, *data.golden[1:]]})
    content = embed(tiny_model(), data)
    assert compare_golden(data, Interpreter(content)).passed is False
    interpreter = Interpreter(content)
    installed("aarch64", ai_edge_litert="2.3.0")
    softmax = _running(operators={"CONV_2D", "SOFTMAX"})
    monkeypatch.setattr(Interpreter, "arithmetic", softmax)
    report = compare_golden(data, interpreter)
    assert report.passed is None
    assert report.sentence.endswith(
        "none must be: SOFTMAX may round otherwise in ai-edge-litert 2.3.0 on aarch64."
    )


def test_xnnpack_of_the_fallback_runtime_need_not_give_the_pairs(installed: Installed) -> None:
    """Its kernels are of 2023; what they give is told and is no verdict."""
    data = metadata()
    content = embed(tiny_model(), data)
    interpreter = Interpreter(content)
    installed("armv7l", tflite_runtime="2.14.0")
    interpreter._runtime = "tflite-runtime"
    report = compare_golden(data, interpreter)
    assert report.passed is None
    assert not report.must_be_equal
    assert report.sentence == (
        "3 of 3 golden pairs equal to the byte; none must be: "
        "nothing is proved of XNNPACK in tflite-runtime 2.14.0 on armv7l."
    )
