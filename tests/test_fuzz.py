"""A small part of `make fuzz`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "attacks" / "fuzz.py"
FOREIGN = FUZZ.with_name("fuzz_foreign.py")
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


def test_everything_that_reads_foreign_bytes_outlives_a_few_hostile_inputs(tmp_path: Path) -> None:
    names = run(tmp_path, "--list", script=FOREIGN).stdout.split()
    done = run(tmp_path, "--inputs", "6", "--seed", "3", script=FOREIGN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", 0 failures;") == len(names) > 20


WRONG = {
    "return False": "a good input is refused",
    "raise KeyError(1)": "KeyError: 1",
    "return refused_or(lambda: int('x'))": "ValueError: invalid literal",
    "return run_line('results', 'nonsense')": "not one short line of refusal",
    "exec('while True: pass')": "no answer within 0.3 s",
    "sum(range(10**12))": "the process hung in native code",
    "os.abort()": "the process ended by SIGABRT",
    "bytes(60_000_000).replace(b'\\0', b'x'); return True": "MB more than before",
}
"""What an attack may come upon, as the body of a function, and what is said of it."""


def test_what_the_oracle_calls_wrong(tmp_path: Path) -> None:
    """An attack that could not fail would prove nothing."""
    program = tmp_path / "program.py"
    lines = [
        "import os, sys",
        f"sys.path[:0] = [{str(FUZZ.parent)!r}, {str(FUZZ.parents[1] / 'helpers')!r}]",
        "from frame import Target, attack_apart, refused_or, run_line",
    ]
    for number, body in enumerate(["return True", *WRONG]):
        prepared = f"lambda folder: ([b'seed'], examine{number})"
        lines += [f"def examine{number}(content):", f"    {body}"]
        lines += [f"target = Target('x{number}', {prepared}, megabytes=20)"]
        lines += [f"print('outcome {number}', attack_apart(target, 2, 1, seconds=0.3))"]
    program.write_text("\n".join(lines))
    done = run(tmp_path, script=program)
    assert done.returncode == 0, done.stderr
    well, *parts = re.split(r"outcome \d (?=True|False)", done.stdout)
    assert "2 inputs, 2 accepted, 0 refused, 0 failures" in well
    assert parts[0].startswith("True")
    for part, said in zip(parts, WRONG.values(), strict=False):
        assert said in part
        assert Path(part.split("kept as ")[1].split()[0]).parent == tmp_path
    assert [part.split()[0] for part in parts] == ["True"] + ["False"] * len(WRONG)
