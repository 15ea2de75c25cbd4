"""The plugin that counts, compiled and driven by a stand-in for QEMU.

The library is loaded at 0x10000; an inference is 0x100 to 0x200 in it, and is called from 0x9000.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks" / "cortex"), str(ROOT / "benchmarks")]

from record import Record, parse  # noqa: E402

HELPERS = ROOT / "tests" / "helpers" / "plugin"
MARKS = """\
inference 100 200
runtime 300 310
operator 400 400
builtin 500 500
"""
LOADED, RECORD = "call 223 -7 10000 1", "call 223 -7 0 2"
INFERENCE, BODY, RUNTIME, OPERATOR, BUILTIN = 0x10100, 0x10120, 0x10300, 0x10400, 0x10500
CALLER, WORK = 0x9000, 0x20000


def has_glib() -> bool:
    """Tell whether programs that use GLib can be compiled here."""
    if shutil.which("cc") is None or shutil.which("pkg-config") is None:
        return False
    asked = subprocess.run(["pkg-config", "--exists", "glib-2.0"], check=False)
    return asked.returncode == 0


pytestmark = pytest.mark.skipif(not has_glib(), reason="needs a C compiler and GLib's headers")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plugin") / "emulated"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "glib-2.0"], capture_output=True, text=True, check=True
    ).stdout.split()
    sources = [ROOT / "benchmarks" / "cortex" / "counter.c", HELPERS / "emulated.c"]
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{HELPERS}", *sources]
    subprocess.run([*command, "-o", out, *flags], check=True)
    return out


def lines_of(*steps: int | str) -> str:
    """Return the program for the stand-in: addresses are blocks that run."""
    return "".join(f"run {s:x}\n" if isinstance(s, int) else f"{s}\n" for s in steps)


def link(address: int) -> str:
    """Return the line that sets the link register."""
    return f"link {address:x}"


def recorded(program: Path, folder: Path, *steps: int | str) -> str:
    """Run a program; returns what the plugin wrote."""
    (folder / "marks").write_text(MARKS)
    out = folder / "record"
    subprocess.run(
        [program, f"marks={folder / 'marks'}", f"out={out}"],
        input=lines_of(*steps),
        text=True,
        check=True,
    )
    return out.read_text()


def addresses(record: Record) -> list[tuple[str, dict[int, int]]]:
    """Return kind and executions by address for each segment."""
    found = []
    for segment in record.segments:
        times: Counter[int] = Counter()
        for number, n in segment.times.items():
            times[record.blocks[number].offset + 0x10000] += n
        found.append((segment.kind, dict(times)))
    return found


WARM_UP = (LOADED, link(CALLER), INFERENCE, CALLER)


def test_one_inference_is_recorded_operator_by_operator(program: Path, tmp_path: Path) -> None:
    steps = (
        *WARM_UP,
        RECORD,
        *(link(CALLER), INFERENCE),
        *(link(BODY), BUILTIN, WORK, BODY),
        *(RUNTIME, OPERATOR, WORK, WORK),
        *(link(WORK), BUILTIN, RUNTIME, BODY),
        *(CALLER, WORK, link(CALLER), INFERENCE, CALLER),
    )
    record = parse(recorded(program, tmp_path, *steps).splitlines())
    assert addresses(record) == [
        ("r", {INFERENCE: 1}),
        ("b", {BUILTIN: 1, WORK: 1}),
        ("r", {BODY: 1, RUNTIME: 1}),
        ("o", {OPERATOR: 1, WORK: 2, BUILTIN: 1}),  # not called by the inference itself
        ("r", {RUNTIME: 1, BODY: 1}),
    ]
    assert [record.instructions(segment) for segment in record.segments] == [2, 4, 4, 8, 4]
    codes = {block.offset + 0x10000: block.code for block in record.blocks.values()}
    assert codes[WORK] == WORK.to_bytes(4, "little") * 2


def test_an_operator_of_several_objects_is_one_segment(program: Path, tmp_path: Path) -> None:
    objects = [(RUNTIME, f"third {number}", OPERATOR, WORK) for number in (0, 1, 2, 0)]
    steps = (*WARM_UP, RECORD, link(CALLER), INFERENCE, *sum(objects, ()), RUNTIME, CALLER)
    record = parse(recorded(program, tmp_path, *steps).splitlines())
    assert addresses(record) == [
        ("r", {INFERENCE: 1, RUNTIME: 1}),
        ("o", {OPERATOR: 3, WORK: 3, RUNTIME: 2}),
        ("r", {RUNTIME: 1}),
        ("o", {OPERATOR: 1, WORK: 1}),
        ("r", {RUNTIME: 1}),
    ]


def test_nothing_is_recorded_without_being_asked(program: Path, tmp_path: Path) -> None:
    other = "call 223 3 0 2"  # the same system call for a real file
    assert recorded(program, tmp_path, *WARM_UP, other, INFERENCE, WORK, CALLER) == ""


def test_marks_mean_nothing_before_the_library_is_loaded(program: Path, tmp_path: Path) -> None:
    assert recorded(program, tmp_path, RECORD, 0x100, 0x400, WORK) == ""


def test_the_plugin_refuses_to_run_without_marks(program: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    done = subprocess.run(
        [program, f"marks={tmp_path / 'empty'}", f"out={tmp_path / 'out'}"],
        input="",
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no marks" in done.stderr
