"""Any text, any reader, any encoding: no traceback, no escape, and the right exit code."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from command import run_command
from tiny_metadata import tiny_file

import qlvit_edge.cli
from qlvit_edge.cli import COMMANDS, cli
from qlvit_edge.cli.console import next_step, plain_table, table_console
from qlvit_edge.cli.streams import outlets
from qlvit_edge.errors import ConfigurationError, QLViTEdgeError
from qlvit_edge.files import json_text
from qlvit_edge.text import counted, did_you_mean, plain

HOSTILE = "\x1b[31m\x9b2J\x07\u202eBLUE\u2028\n\r\udcff"
SHOWN = "\\u001b[31m\\u009b2J\\u0007\\u202eBLUE\\u2028\\n\\r\\udcff"

CLI = Path(qlvit_edge.cli.__file__).parent
ALL_COMMANDS = [[name] for name in COMMANDS if name != "data"] + [["data", "check"]]
ALL_COMMANDS += [["data", "split"], ["data"], []]


class _Ended(io.RawIOBase):
    """A descriptor whose reader or disk has gone."""

    def __init__(self, error: int) -> None:
        self.error = error

    def writable(self) -> bool:
        return True

    def write(self, _content: object) -> int:
        raise OSError(self.error, os.strerror(self.error))


def stream(raw: io.RawIOBase, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw, 16), encoding=encoding)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[io.TextIOWrapper]]:
    """Streams put in place of standard output, detached in the end: nothing is left to flush."""
    made: list[io.TextIOWrapper] = []
    yield made
    for one in made:
        one.detach().detach()


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_help_of_every_command_survives_its_reader(
    command: list[str], monkeypatch: pytest.MonkeyPatch, ended: list[io.TextIOWrapper]
) -> None:
    import errno

    for error, code in ((errno.EPIPE, 0), (errno.ENOSPC, 2)):
        ended.append(stream(_Ended(error)))
        monkeypatch.setattr(sys, "stdout", ended[-1])
        assert run_command(*command, "--help") == code
    monkeypatch.setattr(sys, "stdout", None)
    assert run_command(*command, "--help") == 0


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_of_every_command_is_written_in_any_encoding(
    command: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert run_command(*command, "--help") == 0
    assert "Usage: qlvit-edge" in written.getvalue().decode(encoding)


@pytest.mark.parametrize("command", [c for c in ALL_COMMANDS if c], ids=" ".join)
def test_every_command_shows_what_it_refuses_without_its_escapes(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([HOSTILE], [f"--{HOSTILE}"], [HOSTILE, "--out", HOSTILE, "--data", HOSTILE]):
        assert run_command(*command, *words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        text = captured.err
        assert "Traceback" not in text
        assert all(c.isprintable() or c == "\n" for c in text), text


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with names that are not for terminals; one image cannot be decoded."""
    import cv2

    root = tmp_path_factory.mktemp("cells")
    for number, name in enumerate(("A", "ä")):
        (root / name).mkdir()
        for index in (0, 1):
            image = np.full((8, 8, 3), 50 * index + 100 * number, np.uint8)
            (root / name / f"{index}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (root / "ä" / "bad\x1b]0;x\x07.png").write_bytes(b"no image")
    return root


def real(command: list[object], **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a process, by `python -m`."""
    words = [sys.executable, "-m", "qlvit_edge", *map(str, command)]
    return subprocess.run(words, check=False, **options)  # type: ignore[call-overload, no-any-return]


REAL = [
    (["inspect", "blood-nano", "--json"], 0),
    (["data", "check", "CELLS"], 1),
    (["inspect", "gone.tflite"], 2),
]


@pytest.mark.parametrize(("command", "code"), REAL, ids=["done", "check failed", "refused"])
def test_exit_codes_do_not_depend_on_the_reader(command: list[str], code: int, cells: Path) -> None:
    words = [cells if word == "CELLS" else word for word in command]
    closed = real(words, preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE)
    assert closed.returncode == code
    read, write = os.pipe()
    os.close(read)
    broken = real(words, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert broken.returncode == code
    with Path("/dev/full").open("wb") as full:
        lost = real(words, stdout=full, stderr=subprocess.PIPE)
        mute = real(words, stdout=subprocess.DEVNULL, stderr=full)
    assert lost.returncode == (code or 2)
    assert mute.returncode == code
    if code != 2:
        assert b"error: standard output: No space left on device" in lost.stderr
    for done in (closed, broken, lost):
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_any_encoding(encoding: str, cells: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = real(["data", "check", cells, "--json"], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 1
    found = json.loads(done.stdout.decode(encoding))
    assert {entry["name"] for entry in found["classes"]} == {"A", "ä"}
    assert b"\x1b" not in done.stdout


def test_descriptors_that_were_closed_are_not_given_to_files(tmp_path: Path) -> None:
    """Native code that prints would else write into the first file that was opened."""
    program = (
        "import os, sys\n"
        "from qlvit_edge.cli.streams import outlets\n"
        "with outlets():\n"
        f"    file = open({str(tmp_path / 'f')!r}, 'w')\n"
        "    print('lost')\n"
        "    os.write(1, b'native')\n"
        "    os._exit(file.fileno())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=lambda: os.closerange(0, 3), check=False
    )
    assert done.returncode > 2
    assert (tmp_path / "f").read_bytes() == b""


def test_names_of_classes_and_files_are_shown_escaped(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("data", "check", cells) == 1
    said = capsys.readouterr().out
    assert "bad\\u001b]0;x\\u0007.png" in said
    assert all(c.isprintable() or c == "\n" for c in said)


def test_metadata_keys_are_shown_escaped_in_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = tiny_file(tmp_path / "m.tflite").read_bytes()
    known = b'"unknown_cells"'
    damaged = content.replace(known, b'"\\u001b[2Jx"'.ljust(len(known)))
    assert damaged != content
    (tmp_path / "m.tflite").write_bytes(damaged)
    assert run_command("inspect", tmp_path / "m.tflite") == 2
    line = capsys.readouterr().err
    assert "\\u001b[2Jx" in line
    assert "\x1b" not in line


def test_errors_hold_nothing_that_a_terminal_obeys() -> None:
    text = str(QLViTEdgeError(f"name{HOSTILE}", f"holds {HOSTILE}", "rename it"))
    assert text.isprintable()
    assert text.startswith(f"name{SHOWN}: holds ")


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), True),
        (RuntimeError("memory format"), False),
    ],
)
def test_too_little_memory_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    is_memory: bool,
) -> None:
    def large(_name: object) -> Path:
        raise error

    monkeypatch.setattr("qlvit_edge.bundled.resolve_model", large)
    assert run_command("inspect", "blood-nano") == 2
    line = capsys.readouterr().err
    wanted = "error: memory: not enough of it; use a smaller input or more memory\n"
    assert (line == wanted) == is_memory


def test_a_fault_of_ours_is_one_line_and_no_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_name: object) -> Path:
        raise AttributeError(f"no {HOSTILE}")

    monkeypatch.setattr("qlvit_edge.bundled.resolve_model", broken)
    assert run_command("inspect", "blood-nano") == 2
    line = capsys.readouterr().err
    assert line.startswith("internal error: AttributeError: no ")
    assert line.count("\n") == 1
    assert line.strip().isprintable()
    assert run_command("--debug", "inspect", "blood-nano") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any(line.startswith("AttributeError: no ") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_echoed_text_is_escaped_and_signs_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with outlets():
        print(f"8×8 … {HOSTILE}ä")
        print(json_text({"ä": "😀"}))
    lines = written.getvalue().decode("ascii").split("\n")
    assert lines[0] == "8x8 ... \\u001b[31m\\u009b2J\\u0007\\u202eBLUE\\u2028"
    assert json.loads("".join(lines[2:])) == {"ä": "😀"}


def test_tables_show_names_as_they_are_and_keep_their_own_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        patched.setenv("TERM", "xterm-256color")
        patched.delenv("NO_COLOR", raising=False)
        with outlets():
            console = table_console()
            table = plain_table("names", "name", "count>")
            table.add_row("[red]\x1b[2J\n", 1)
            console.print(table)
            console.print("good\x1b[2J", style="green", markup=False)
    said = terminal.getvalue()
    assert "[red]\\u001b[2J\\n" in said
    assert "\x1b[2J" not in said
    assert "\x1b[32mgood" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [("ä 細胞 × …", "ä 細胞 × …"), (HOSTILE, SHOWN), ("\U000e0041", "\\udb40\\udc41"), ("", "")],
)
def test_plain_text(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(plain(text)) == shown
    if text.isprintable() or "\udcff" not in text:
        assert json.loads(f'"{plain(text)}"') == text


def _commands_in(path: Path) -> Iterator[str]:
    """Commands that a module tells people to type; what is filled in is X."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in inside:
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)
        if text.startswith("qlvit-edge ") and "{" not in text:
            yield text


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_what_people_are_told_to_type_is_complete(path: Path) -> None:
    """Every option that a command needs is there, and there is none that it does not have."""
    for text in set(_commands_in(path)):
        command, words = cli, shlex.split(text, comments=True)[1:]
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None
            command = found
        try:
            command.make_context("told", words)
        except (click.MissingParameter, click.NoSuchOption) as error:
            pytest.fail(f"{text}: {error}")
        except (click.BadParameter, ConfigurationError):  # X is no choice, number or file
            continue


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["predict", "x", "--model-seconds", "1e300"], "1e+300 is more than"),
        (["predict", "x", "--model-memory", "9" * 12], "1e+12 is more than"),
        (["run", "m", "--camera", "x", "--out", "r", "--frames", "9" * 30], "1e+30 is more than"),
        (["data", "split", "x", "--out", "s", "--seed", str(-(2**31))], "is more than 2147483647"),
    ],
)
def test_numbers_that_libraries_cannot_take_are_refused(
    command: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*command) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("Error: Invalid value for '--")
    assert said in line


def test_plurals() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(0, "image") == "0 images"
    assert counted(2048, "class", "classes") == "2,048 classes"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("nanno", ", did you mean 'nano'?"), ("NANO", ", did you mean 'nano'?"), ("zebra", "")],
)
def test_words_close_to_a_choice_are_suggested(word: str, meant: str) -> None:
    assert did_you_mean(word, ["nano", "tiny", "paper"]) == meant


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (["inspct"], "inspect"),
        (["data", "chek"], "check"),
        (["inspect", "--jsn", "x"], "--json"),
        (["inspect", "blood-nanno"], "blood-nano"),
        (["convert", "blood-nanoo", "--out", "x"], "blood-nano"),
        (["cost", "papr"], "paper"),
        (["cost", "nano", "--variant", "v44"], "v4"),
        (["calibrate", "run", "--observer", "percentil"], "percentile"),
        (["run", "m", "--camera", "x", "--out", "y", "--kernels", "refrence"], "reference"),
        (["benchmark", "blood-nano", "--kernels", "builtn"], "builtin"),
        (["predict", "x", "--allow-operators", "ARGMAX"], "ARG_MAX"),
    ],
)
def test_wrong_words_get_the_nearest_right_one(
    command: list[str],
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(*command) == 2
    assert f"id you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"train"}))
def test_every_command_ends_with_what_comes_next(name: str) -> None:
    """Seen in the source: most commands need a trained network to come to their end."""
    own = [path for path in CLI.glob("*.py") if path.stem.partition("_")[0] == name]
    own += [CLI / "live.py"] if name == "run" else []
    assert any("next_step(" in path.read_text(encoding="utf-8") for path in own)


def test_only_the_console_writes_to_the_terminal() -> None:
    """Whatever makes a console of its own, or writes to `sys.stdout`, does not escape."""
    barred = re.compile(r"\bConsole\(|sys\.stdout|sys\.stderr|\bprint\((?!.*file=)")
    allowed = {"console.py", "streams.py"}
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(CLI.glob("*.py"))
        if path.name not in allowed
        for line in path.read_text(encoding="utf-8").splitlines()
        if barred.search(re.sub(r"console(\([\w=]*\))?\.print\(", "", line)) and '"""' not in line
    ]
    assert found == []


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_every_command_has_an_example_and_explains_its_options(words: list[str]) -> None:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.opts for option in options if not option.help] == []
    assert "Example" in (command.help or "")


def test_next_steps_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    next_step("qlvit-edge inspect x", "look inside")
    next_step("qlvit-edge inspect x", as_json=True)
    assert capsys.readouterr().out == "next: qlvit-edge inspect x  # look inside\n"


def test_the_sizes_that_help_names_are_those_of_the_library() -> None:
    from qlvit_edge.choices import SIZE_NAMES
    from qlvit_edge.model.configs import SIZES

    assert set(SIZE_NAMES) == set(SIZES)
