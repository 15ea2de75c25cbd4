"""What every attack on foreign bytes shares: inputs, the oracle, limits of time and memory.

A `Target` knows what good inputs look like and gives one input to the code under attack. Inputs are
its seeds and mutations of them; the same number gives the same inputs. Right is an answer, or an
error of ours of one short line without anything that a terminal obeys. Wrong is any other
exception, a process that ends, an input that takes too long, and memory that grows beyond what the
target allows. Each target runs in a process of its own, which a crash takes with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mutations import BYTES

from qlvit_edge.cli import main as command_line
from qlvit_edge.errors import QLViTEdgeError

LONGEST_LINE = 2020
MOST_FAILURES = 5


class Finding(AssertionError):
    """An answer that is wrong though nothing was raised; the text says how."""


@dataclass(frozen=True)
class Target:
    """Something that reads foreign bytes.

    Attributes:
        name: of the target.
        prepare: makes what an attack needs in a folder of its own; returns good inputs and the
            function that gives one to the code under attack: it returns whether it was accepted,
            and raises `Finding` where an answer is wrong.
        words: pieces that mean something in this format; mutations put them in.
        change: one more way to change an input, one time in three; None for none.
        megabytes: by which the process may grow.
        seconds: that one input may take.
        is_sure: whether the first input must be accepted.
    """

    name: str
    prepare: Callable[[Path], tuple[Sequence[bytes], Callable[[bytes], bool]]]
    words: Sequence[bytes] = ()
    change: Callable[[random.Random, bytes], bytes] | None = None
    megabytes: float = 200.0
    seconds: float = 5.0
    is_sure: bool = True


def one_line(error: BaseException) -> bool:
    """Return False, for "refused"; raises `Finding` for an error that says it badly."""
    line = str(error)
    if not isinstance(error, QLViTEdgeError):
        raise Finding(f"{type(error).__name__} is no error of ours: {line[:200]!r}")
    if "\n" in line or not line.isprintable() or not 0 < len(line) <= LONGEST_LINE:
        raise Finding(f"not one short line: {line[:200]!r}")
    return False


def refused_or(action: Callable[[], object]) -> bool:
    """Return whether an action was done; errors of ours are answers, too."""
    try:
        action()
    except QLViTEdgeError as error:
        return one_line(error)
    return True


def run_line(*words: object) -> bool:
    """Run a command line in this process; returns whether it was done (exit code 0 or 1)."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
    said = err.getvalue()
    if code not in (0, 1, 2):
        raise Finding(f"exit code {code}: {said[-300:]!r}")
    if "Traceback" in said + out.getvalue():
        raise Finding(f"a traceback: {said[-300:]!r}")
    if any(not (c.isprintable() or c in "\n\t") for c in said + out.getvalue()):
        raise Finding("a control character in the output")
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == 2 and (len(errors) != 1 or len(errors[0]) > LONGEST_LINE):
        raise Finding(f"not one short line of refusal: {said[:300]!r}")
    return code != 2


class Inputs:
    """Seeds, and what becomes of them."""

    def __init__(self, target: Target, seeds: Sequence[bytes], seed: int) -> None:
        self._target, self.seeds = target, list(seeds)
        self._random = random.Random(f"{target.name} {seed}")

    def number(self, number: int) -> bytes:
        """Return the next input; the seeds themselves come first."""
        if number < len(self.seeds):
            return self.seeds[number]
        chosen = self._random
        content = chosen.choice(self.seeds)
        if self._target.change is not None and chosen.random() < 0.34:
            content = self._target.change(chosen, content)
            if chosen.random() < 0.8:
                return content
        data = bytearray(content)
        for _ in range(chosen.choice((1, 1, 1, 2, 4, 16))):
            if self._target.words and chosen.random() < 0.3:
                self._put(data, chosen.choice(self._target.words))
            elif chosen.random() < 0.2 and (numbers := list(re.finditer(rb"\d+", data))):
                found = chosen.choice(numbers)
                data[found.start() : found.end()] = chosen.choice(_NUMBERS)
            else:
                chosen.choice(BYTES)(chosen, data)
        if chosen.random() < 0.05:
            other = chosen.choice(self.seeds)
            data[chosen.randrange(len(data) + 1) :] = other[chosen.randrange(len(other) + 1) :]
        return bytes(data)

    def _put(self, data: bytearray, word: bytes) -> None:
        at = self._random.randrange(len(data) + 1)
        end = at if self._random.random() < 0.5 else at + len(word)
        data[at:end] = word * self._random.choice((1, 1, 1, 2, 200))


_NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"2147483648",
    b"18446744073709551616",
    b"9" * 400,
    b"1.5",
)


@dataclass
class Outcome:
    """What came of an attack; `failures` are in words, each with where the input was kept."""

    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0
    grown: float = 0.0
    failures: int = 0

    def __str__(self) -> str:
        refused = self.inputs - self.accepted - self.failures
        return (
            f"{self.inputs} inputs, {self.accepted} accepted, {refused} refused, "
            f"{self.failures} failures; {self.slowest:.2f} s the slowest, {self.grown:.0f} MB more"
        )


def attack(target: Target, inputs: int, seed: int, *, seconds: float, current: Path) -> Outcome:
    """Give so many inputs to a target in this process and print what is wrong.

    Args:
        target: what is attacked.
        inputs: how many.
        seed: of the inputs.
        seconds: that one may take.
        current: file that holds the input which is being looked at.
    """
    outcome = Outcome()
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Basic Auth Realm was unquoted")  # as in `http_request`
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        seeds, examine = target.prepare(Path(folder))
        source = Inputs(target, seeds, seed)
        _forget_peak()
        before = peak_megabytes()
        for number in range(inputs):
            content = source.number(number)
            current.write_bytes(content)
            started = time.perf_counter()
            finding = _given(content, examine, outcome, seconds)
            outcome.inputs += 1
            if number == 0 and target.is_sure and not (finding or outcome.accepted):
                finding = "a good input is refused"
            outcome.slowest = max(outcome.slowest, time.perf_counter() - started)
            grown = peak_megabytes() - before
            if outcome.grown <= target.megabytes < grown:
                finding = f"{grown:.0f} MB more than before"
            outcome.grown = grown
            if finding:
                outcome.failures += 1
                kept = keep(content, target.name)
                print(f"{target.name} {number}: {finding}\n  kept as {kept}", flush=True)
                if outcome.failures == MOST_FAILURES:
                    break
    return outcome


def _given(
    content: bytes, examine: Callable[[bytes], bool], outcome: Outcome, seconds: float
) -> str:
    """Give one input; returns what is wrong, or nothing."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        outcome.accepted += examine(content)
    except TimeoutError as error:
        return f"no answer within {seconds:g} s" if not error.args else traceback.format_exc()
    except BaseException:
        return traceback.format_exc().strip()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def attack_apart(target: Target, inputs: int, seed: int, *, seconds: float | None = None) -> bool:
    """Attack in a process of its own; print the outcome and return whether all was well.

    A process that ends, or that native code holds where no signal reaches it, is a failure: the
    input that it was given last is kept.
    """
    limit = target.seconds if seconds is None else seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        current = Path(folder) / "input"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _attack_and_end(target, inputs, seed, limit, current)
        code = _code_of(pid, current, 2 * limit + 3)
        if code < 0:
            kept = keep(current.read_bytes(), target.name) if current.exists() else "nothing"
            how = (
                "hung in native code" if code == _HUNG else f"ended by {signal.Signals(-code).name}"
            )
            print(f"{target.name}: the process {how}\n  kept as {kept}", flush=True)
    return code == 0


_HUNG = -1000


def _attack_and_end(
    target: Target, inputs: int, seed: int, seconds: float, current: Path
) -> NoReturn:
    code = 3
    try:
        outcome = attack(target, inputs, seed, seconds=seconds, current=current)
        print(f"{target.name}: {outcome}", flush=True)
        code = int(outcome.failures > 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _code_of(pid: int, current: Path, seconds: float) -> int:
    """Wait for a process; return its code, minus a signal, or `_HUNG` if its inputs stand still."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - current.stat().st_mtime > seconds:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return _HUNG
        time.sleep(0.03)


def keep(content: bytes, name: str) -> Path:
    """Write an input where it can be looked at."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"fuzz-{name}-{digest}"
    path.write_bytes(content)
    return path


def peak_megabytes() -> float:
    """Return the most memory that this process held since `_forget_peak`, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # a kernel without it counts what was before, too
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _late(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError
