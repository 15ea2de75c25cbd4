"""Calls `edgetpu_compiler` and reads its log.

All Edge TPU segments go into one call: the compiler then shares the on-chip memory among
them (co-compilation). Options and behaviour: https://coral.ai/docs/edgetpu/compiler/; the
log's format is that of versions 2.1 to 16.0 as posted in the compiler's issue tracker.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qlvit_edge.errors import ConversionError

PROGRAM = "edgetpu_compiler"
MAPPED = "Mapped to Edge TPU"
DEFAULT_TIMEOUT = 180
_GRACE = 5.0  # it is told how long it may take, and given this much to say so
_LARGEST_LOG = 16 * 1024 * 1024
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_MODEL = re.compile(r"^Input model: (.+)$", re.MULTILINE)
_OUTPUT = re.compile(r"^Output model: (.+)$", re.MULTILINE)
_SIZE = r"^{}: ([0-9.]+)(B|KiB|MiB|GiB)\s*$"
_CACHED = re.compile(_SIZE.format("On-chip memory used for caching model parameters"), re.M)
_LEFT = re.compile(_SIZE.format("On-chip memory remaining for caching model parameters"), re.M)
_STREAMED = re.compile(
    _SIZE.format("Off-chip memory used for streaming uncached model parameters"), re.M
)
_SUBGRAPHS = re.compile(r"^Number of Edge TPU subgraphs: (\d+)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^Total number of operations: (\d+)\s*$", re.MULTILINE)
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)[ \t]+(\d+)[ \t]+(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class OperatorStatus:
    """One row of the log's table: operators of one kind that fared alike."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True)
class CompiledModel:
    """What the log says about one model.

    Attributes:
        source: the model's file name.
        output: the compiled file's name.
        cached_bytes: parameters kept in on-chip memory.
        left_bytes: on-chip memory left for parameters.
        streamed_bytes: parameters fetched anew at every run.
        subgraphs: partitions on the Edge TPU.
        operations: operators of the model.
        table: what became of them.
    """

    source: str
    output: str
    cached_bytes: int
    left_bytes: int
    streamed_bytes: int
    subgraphs: int
    operations: int
    table: tuple[OperatorStatus, ...]

    @property
    def unmapped(self) -> int:
        """Operators that are left to the CPU."""
        return sum(row.count for row in self.table if row.status != MAPPED)

    def as_dict(self) -> dict[str, object]:
        """Return all of it for JSON."""
        return {**asdict(self), "unmapped": self.unmapped}


@dataclass(frozen=True)
class CompilerLog:
    """A whole log: the compiler's version and one entry a model, in the order of the log."""

    version: str
    models: tuple[CompiledModel, ...]

    def as_dict(self) -> dict[str, object]:
        """Return all of it for JSON."""
        return {"version": self.version, "models": [model.as_dict() for model in self.models]}


def find_compiler() -> Path | None:
    """Return where the compiler is on the PATH, if it is."""
    found = shutil.which(PROGRAM)
    return None if found is None else Path(found)


def compile_models(
    compiler: Path, models: Sequence[Path], folder: Path, timeout: int = DEFAULT_TIMEOUT
) -> tuple[CompilerLog, dict[str, bytes]]:
    """Compile models together.

    Args:
        compiler: the program.
        models: the `.tflite` files, of different names.
        folder: where the compiler writes.
        timeout: seconds it may take; it is told, and ended a little later.

    Returns:
        The log, and the compiled file of each model by the model's file name.

    Raises:
        ConversionError: it fails, does not end in time, writes what is no log of it, or
            does not write the files.
    """
    arguments = [
        str(compiler),
        "--show_operations",
        "--timeout_sec",
        str(timeout),
        "--out_dir",
        str(folder),
        *map(str, models),
    ]
    text = _run(arguments, compiler, timeout)
    log = parse_log(text, compiler)
    by_source = {Path(model.source).name: model for model in log.models}
    missing = [path.name for path in models if path.name not in by_source]
    if missing:
        raise ConversionError(
            compiler, f"its log does not mention {missing[0]}", "check the compiler's version"
        )
    compiled = {}
    for path in models:
        written = folder / f"{path.stem}_edgetpu.tflite"
        if not written.is_file() or not written.stat().st_size:
            raise ConversionError(
                compiler, f"it did not write {written.name}", "run it by hand to see why"
            )
        compiled[path.name] = written.read_bytes()
    return log, compiled


def parse_log(text: str, subject: object = PROGRAM) -> CompilerLog:
    """Read what the compiler printed with ``--show_operations``.

    Raises:
        ConversionError: this is no log of a successful compilation.
    """
    version = _VERSION.search(text)
    starts = [match.start() for match in _MODEL.finditer(text)]
    if version is None or not starts:
        raise _not_a_log(subject, text)
    parts = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return CompilerLog(version.group(1), tuple(_model(part, subject) for part in parts))


def _model(text: str, subject: object) -> CompiledModel:
    source, output = _MODEL.search(text), _OUTPUT.search(text)
    sizes = [pattern.search(text) for pattern in (_CACHED, _LEFT, _STREAMED)]
    counts = [pattern.search(text) for pattern in (_SUBGRAPHS, _TOTAL)]
    table = tuple(
        OperatorStatus(name, int(count), status) for name, count, status in _ROW.findall(text)
    )
    if source is None or output is None or not table:
        raise _not_a_log(subject, text)
    try:
        cached, left, streamed = (
            round(float(found.group(1)) * _UNITS[found.group(2)]) for found in sizes if found
        )
        subgraphs, total = (int(found.group(1)) for found in counts if found)
    except ValueError:
        raise _not_a_log(subject, text) from None
    listed = sum(row.count for row in table)
    if listed != total:
        raise ConversionError(
            subject,
            f"its log lists {listed} operators of {total} in {Path(source.group(1)).name}",
            "check the compiler's version",
        )
    return CompiledModel(
        source.group(1).strip(),
        output.group(1).strip(),
        cached,
        left,
        streamed,
        subgraphs,
        total,
        table,
    )


def _run(arguments: list[str], compiler: Path, timeout: int) -> str:
    """Run the compiler, with its own children, and return what it printed."""
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ConversionError(
            compiler, f"it does not start ({error.strerror})", "install it again"
        ) from None
    try:
        output, _ = process.communicate(timeout=timeout + _GRACE)
    except subprocess.TimeoutExpired:
        raise ConversionError(
            compiler, f"no answer within {timeout} s", "allow more with --compiler-timeout"
        ) from None
    finally:
        _end(process)
    text = output[:_LARGEST_LOG].decode("utf-8", "replace")
    if process.returncode != 0:
        code = process.returncode
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ConversionError(
            compiler,
            f"it failed ({ended}: {_last_words(text)})",
            "run it by hand to see more, or leave the files uncompiled with --no-compile",
        )
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a compiler that still runs, and the processes it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _last_words(text: str) -> str:
    """Return the line that says most: one with an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|failed due|abort", line, re.IGNORECASE)]
    return (telling or lines or ["no output"])[-1][:200]


def _not_a_log(subject: object, text: str) -> ConversionError:
    return ConversionError(
        subject,
        f"its output is no log of a compilation ({_last_words(text)!r})",
        "check that it is Google's compiler, version 2.1 to 16",
    )
