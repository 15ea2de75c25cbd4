"""The compiler's call and its log: what it says is read, what it does wrong is said."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fake_edgetpu_compiler as fake
import pytest
from tiny_model import tiny_model

from qlvit_edge.converters.edgetpu.compiler import (
    MAPPED,
    compile_models,
    find_compiler,
    parse_log,
)
from qlvit_edge.errors import ConversionError

# As posted for version 2.1.302470888, names and figures shortened.
OLD_LOG = """\
Edge TPU Compiler version 2.1.302470888

Model compiled successfully in 12264 ms.

Input model: model2.tflite
Input size: 8.11MiB
Output model: model2_edgetpu.tflite
Output size: 9.47MiB
On-chip memory used for caching model parameters: 6.86MiB
On-chip memory remaining for caching model parameters: 7.75KiB
Off-chip memory used for streaming uncached model parameters: 1.22MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 15
Operation log: model2_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of
Number of operations that will run on Edge TPU: 13
Number of operations that will run on CPU: 2

Operator                       Count      Status

LOGISTIC                       1          More than one subgraph is not supported
ADD                            10         Mapped to Edge TPU
CONCATENATION                  1          More than one subgraph is not supported
CONV_2D                        3          Mapped to Edge TPU
"""


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "00-tpu.tflite", tmp_path / "02-tpu.tflite"]
    for path in paths:
        path.write_bytes(tiny_model())
    return paths


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_log_of_an_old_version_is_read() -> None:
    log = parse_log(OLD_LOG)
    (model,) = log.models
    assert log.version == "2.1.302470888"
    assert model.cached_bytes == round(6.86 * 1024**2)
    assert model.left_bytes == round(7.75 * 1024)
    assert model.streamed_bytes == round(1.22 * 1024**2)
    assert (model.operations, model.unmapped, model.subgraphs) == (15, 2, 1)
    assert model.table[1].status == MAPPED


def test_all_models_go_into_one_call(tmp_path: Path, models: list[Path], out: Path) -> None:
    compiler = fake.install(tmp_path / "bin")
    log, compiled = compile_models(compiler, models, out)
    assert [Path(model.source).name for model in log.models] == [path.name for path in models]
    assert all(model.unmapped == 0 and model.cached_bytes == 12544 for model in log.models)
    assert set(compiled) == {path.name for path in models}
    assert b"edgetpu-custom-op" in compiled["00-tpu.tflite"]


def test_it_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    program = fake.install(tmp_path)
    assert find_compiler() == program


@pytest.mark.parametrize(
    ("mood", "finding"),
    [
        ("fail", "large activation tensors"),
        ("garbage", "no log of a compilation"),
        ("nothing", "did not write 00-tpu_edgetpu.tflite"),
    ],
)
def test_its_failures_are_one_line(
    tmp_path: Path,
    models: list[Path],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    mood: str,
    finding: str,
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", mood)
    with pytest.raises(ConversionError, match=finding) as error:
        compile_models(fake.install(tmp_path / "bin"), models, out)
    assert "\n" not in str(error.value)


def test_a_compiler_that_hangs_is_ended_with_its_children(
    tmp_path: Path, models: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.converters.edgetpu.compiler._GRACE", 0.5)
    program = tmp_path / "edgetpu_compiler"
    marker = tmp_path / "child"
    program.write_text(f'#!/bin/sh\nsleep 300 &\necho $! > "{marker}"\nwait\n')
    program.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(ConversionError, match="no answer within 1 s"):
        compile_models(program, models, out, timeout=1)
    assert time.monotonic() - began < 30
    child = int(marker.read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_a_crash_is_named_by_its_signal(tmp_path: Path, models: list[Path], out: Path) -> None:
    program = tmp_path / "edgetpu_compiler"
    program.write_text("#!/bin/sh\nkill -ABRT $$\n")
    program.chmod(0o755)
    with pytest.raises(ConversionError, match="SIGABRT"):
        compile_models(program, models, out)


def test_a_program_that_does_not_start_is_said(
    tmp_path: Path, models: list[Path], out: Path
) -> None:
    program = tmp_path / "edgetpu_compiler"
    program.write_bytes(b"\x7fELF, but not really")
    program.chmod(0o755)
    with pytest.raises(ConversionError, match="does not start"):
        compile_models(program, models, out)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Edge TPU Compiler version 16.0\n\nInternal compiler error. Aborting! \n",
        OLD_LOG.replace("Total number of operations: 15", "Total number of operations: 14"),
        OLD_LOG.replace("6.86MiB", "a lot"),
        OLD_LOG[: OLD_LOG.index("Operator  ")],
        OLD_LOG.replace("Input model: ", "Model: "),
    ],
)
def test_anything_else_is_no_log(text: str) -> None:
    with pytest.raises(ConversionError):
        parse_log(text)


def test_random_bytes_are_no_log() -> None:
    for seed in range(20):
        noise = os.urandom(200 + seed).decode("utf-8", "replace")
        with pytest.raises(ConversionError):
            parse_log(noise)
