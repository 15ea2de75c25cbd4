"""A small part of `make fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "attacks" / "fuzz.py"
NATIVE = FUZZ.with_name("fuzz_native.py")


def run(folder: Path, *options: str, script: Path = FUZZ) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer; what it keeps lies in `folder`."""
    command = [sys.executable, str(script), *options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_thousands_of_hostile_inputs_are_answered_in_bounded_time_and_memory(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "--inputs", "5000", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failures" in done.stdout


def test_a_memory_limit_that_is_passed_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, "--inputs", "20", "--megabytes", "10")
    assert done.returncode == 1
    assert "MB held" in done.stdout


def test_an_input_that_takes_too_long_is_a_failure_and_is_kept(tmp_path: Path) -> None:
    done = run(tmp_path, "--inputs", "20", "--seconds", "0.0001")
    assert done.returncode == 1
    assert "no answer within 0.0001 s" in done.stdout
    kept = Path(done.stdout.split("kept as ")[1].split()[0])
    assert kept.is_file()
    assert kept.parent == tmp_path


def test_odd_models_harm_child_processes_only(tmp_path: Path) -> None:
    done = run(tmp_path, "--inputs", "30", "--commands", "15", "--seed", "4", script=NATIVE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 failures" in done.stdout
    assert " runs" in done.stdout
    done = run(tmp_path, "--inputs", "1", "--megabytes", "10", script=NATIVE)
    assert done.returncode == 1
    assert "MB held" in done.stdout
