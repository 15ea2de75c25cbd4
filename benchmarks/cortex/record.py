"""One inference under the emulator: what ran, segment by segment, block by block."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arm64_userland import fail
from emulator import Emulator
from symbols import LIBRARY, Symbols

GUEST = Path(__file__).with_name("guest.py")
WARM_UP = 2
"""Inferences before the one that is recorded: weights are packed, buffers are in place."""

ATTEMPTS = 3
"""The emulator itself was seen to die of a signal once in about fifty runs."""


@dataclass(frozen=True)
class Block:
    """A run of instructions that is executed as a whole.

    Attributes:
        offset: of its first instruction from where the library was loaded.
        instructions: their number.
        code: their bytes.
    """

    offset: int
    instructions: int
    code: bytes


@dataclass
class Segment:
    """What ran from one mark to the next.

    Attributes:
        kind: 'o' an operator inside a delegate, 'b' a builtin operator, 'r' the runtime.
        times: how often each block was executed.
    """

    kind: str
    times: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Record:
    """One inference.

    Attributes:
        segments: in the order they ran; no two of the runtime in a row.
        blocks: by number.
    """

    segments: list[Segment]
    blocks: dict[int, Block]

    def instructions(self, segment: Segment) -> int:
        """Return how many instructions a segment executed."""
        return sum(n * self.blocks[number].instructions for number, n in segment.times.items())

    def cycles(self, segment: Segment, costs: Mapping[bytes, float]) -> float:
        """Return the cycles of a segment, from those of its blocks; 0.0 for a block without."""
        blocks = self.blocks
        return sum(n * costs.get(blocks[b].code, 0.0) for b, n in segment.times.items())

    def functions(self, segment: Segment, symbols: Symbols) -> Counter[str]:
        """Return the instructions of a segment by function; '' is outside the library."""
        found: Counter[str] = Counter()
        for number, times in segment.times.items():
            block = self.blocks[number]
            found[symbols.name_at(block.offset)] += times * block.instructions
        return found


def parse(lines: Iterable[str]) -> Record:
    """Read what the plugin wrote.

    A builtin operator that passes on to another function begins twice: that is one segment, and
    so is a delegated operator made of several objects, with the runtime's steps between them.

    Raises:
        ValueError: the record is cut off or of another form.
    """
    segments: list[Segment] = []
    blocks: dict[int, Block] = {}
    for line in lines:
        word, *rest = line.split()
        if word == "segment":
            before = segments[-1].kind if segments else ""
            if rest[0] == "c" and [s.kind for s in segments[-2:]] == ["o", "r"]:
                between = segments.pop()
                segments[-1].times += between.times
            elif not before == rest[0] == "b":
                segments.append(Segment(rest[0]))
        elif word == "count" and segments:
            segments[-1].times[int(rest[0])] += int(rest[1])
        elif word == "block":
            offset, instructions = int(rest[1], 16), int(rest[2])
            blocks[int(rest[0])] = Block(offset, instructions, bytes.fromhex(rest[3]))
        else:
            raise ValueError(f"not a line of a record: {line.strip()[:60]!r}")
    if not segments or not all(number in blocks for s in segments for number in s.times):
        raise ValueError("the record is cut off")
    return Record(segments, blocks)


def record(emulator: Emulator, symbols: Symbols, model: Path, cpu: str) -> Record:
    """Run a model on an emulated processor and record one inference.

    Raises:
        SystemExit: it did not run; with exit code 2 and one line.
    """
    with tempfile.TemporaryDirectory() as folder:
        marks, out = Path(folder) / "marks", Path(folder) / "record"
        marks.write_text("\n".join(symbols.marks()) + "\n")
        command = emulator.command(cpu, marks, out, GUEST, str(model.resolve()), str(WARM_UP))
        for _ in range(ATTEMPTS):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode >= 0:
                break
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            fail(f"{model}: on {cpu} it ended with {done.returncode} ({last})")
        try:
            with out.open() as lines:
                return parse(lines)
        except ValueError as error:
            fail(f"{model}: on {cpu} {error}; is the library {LIBRARY} of a known version?")
