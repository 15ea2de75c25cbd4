"""The functions of the runtime's library for arm64: where to put marks, and whose code runs.

The library of the ai-edge-litert wheel keeps its symbol table; `nm` of binutils reads it.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "ai_edge_litert/libpywrap_litert_common.so"
_LINE = re.compile(r"([0-9a-f]+) (?:([0-9a-f]+) )?[tTwWiI] (.+)")
_PLACES = (
    ("inference", re.compile(r"tflite::Subgraph::InvokeImpl\(\)")),
    ("runtime", re.compile(r"xnn_invoke_runtime")),
    ("runtime", re.compile(r"tflite::xnnpack::.*::SubgraphInvoke\(.*")),
    ("operator", re.compile(r"xnn_run_operator_with_index")),
    ("builtin", re.compile(r".*tflite::ops::.*\(TfLiteContext\*, TfLiteNode\*\)")),
)


@dataclass(frozen=True)
class Function:
    """A function of the library.

    Attributes:
        start: offset of its first byte.
        end: offset after its last byte.
        name: demangled.
    """

    start: int
    end: int
    name: str


class Symbols:
    """All functions of the library, to be found by offset."""

    def __init__(self, functions: list[Function]) -> None:
        """Sort the functions of a library."""
        self.functions = sorted(functions, key=lambda function: function.start)
        self._starts = [function.start for function in self.functions]

    @classmethod
    def of(cls, library: Path) -> Symbols:
        """Read the symbol table of a library.

        Raises:
            OSError, subprocess.CalledProcessError: there is no `nm`, or it fails.
        """
        listed = subprocess.run(
            ["nm", "--demangle", "--print-size", "--defined-only", str(library)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return cls.parse(listed)

    @classmethod
    def parse(cls, listed: str) -> Symbols:
        """Read what `nm --print-size` prints; a function without a size has one byte."""
        found = [match for line in listed.splitlines() if (match := _LINE.fullmatch(line))]
        return cls(
            [Function(int(m[1], 16), int(m[1], 16) + int(m[2] or "1", 16), m[3]) for m in found]
        )

    def name_at(self, offset: int) -> str:
        """Return the function that an offset lies in, or ''."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self.functions[index].end:
            return ""
        return self.functions[index].name

    def marks(self) -> list[str]:
        """Return the plugin's marks, one line each (see counter.c)."""
        lines = set()
        for function in self.functions:
            for place, pattern in _PLACES:
                if pattern.fullmatch(function.name):
                    end = function.end if place in ("inference", "runtime") else function.start
                    lines.add(f"{place} {function.start:x} {end:x}")
        return sorted(lines)
