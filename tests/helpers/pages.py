"""What the pages for readers hold: links, headings, blocks of code, command lines.

A page is read as Markdown is written here: fenced blocks begin and end with three backquotes,
code within a line stands between single ones.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "qlvit_edge" / "bundled").rglob("*.md"),
    ]
)
OMISSIONS = {"…", "...", "...."}
"""What stands for arguments that a page leaves out."""

_FENCE = re.compile(r"^ *```(\w*) *$")
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_END_OF_COMMAND = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ('' if none is named), first line's number, and text."""

    language: str
    line: int
    text: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    language: str | None = None
    start, lines = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, start, lines = fence[1], number + 1, []
        elif language is not None and line.strip() == "```":
            yield Block(language, start, "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"the block that begins in line {start - 1} has no end"


def prose(text: str) -> list[str]:
    """The lines of a page, those of fenced blocks emptied."""
    kept, within = [], False
    for line in text.splitlines():
        is_fence = line.strip().startswith("```")
        kept.append("" if within or is_fence else line)
        within ^= is_fence
    return kept


def code_spans(text: str) -> Iterator[tuple[int, str]]:
    """Code within lines, also where it goes on in the next one, with its line's number."""
    joined = "\n".join(prose(text))
    for span in _CODE.finditer(joined):
        yield joined.count("\n", 0, span.start()) + 1, " ".join(span[1].split())


def links(text: str) -> Iterator[tuple[int, str]]:
    """Targets of links and pictures, with the line's number; none that stand in code."""
    joined = _CODE.sub(lambda span: re.sub(r"[^\n]", "x", span[0]), "\n".join(prose(text)))
    for link in _LINK.finditer(joined):
        yield joined.count("\n", 0, link.start()) + 1, link[1]


def anchors(text: str) -> set[str]:
    """Names of a page's headings in links, as GitHub makes them."""
    names: list[str] = []
    for line in prose(text):
        if heading := re.match(r"#{1,6} +(.*?) *#*$", line):
            names.append(re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-"))
    repeated = [f"{name}-{n}" for name in set(names) for n in range(1, names.count(name))]
    return {*names, *repeated}


def command_lines(text: str, program: str) -> Iterator[tuple[int, list[str]]]:
    """Words after a program's name in each place where a page shows it being called.

    In blocks a call may follow a prompt, ``sudo``, ``next:`` and the like, and go on in the next
    line after a backslash; a comment, a pipe or a redirection ends it. In prose it is code that
    begins with the program's name.
    """
    for block in blocks(text):
        if block.language not in ("", "sh", "bash", "console"):
            continue
        for offset, line in _joined(block.text):
            yield from ((block.line + offset, words) for words in _calls(line, program))
    for number, span in code_spans(text):
        if span.split(" ")[0] == program or f"; {program} " in span:
            yield from ((number, words) for words in _calls(span, program))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those that follow a backslash."""
    begun, start = "", 0
    for number, line in enumerate(text.splitlines()):
        start = start if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
        else:
            yield start, begun + line
            begun = ""


def _calls(line: str, program: str) -> Iterator[list[str]]:
    named = re.compile(rf"(?<![\w./'\"-]){re.escape(program)}(?= +[^\s,.:]| *$)")
    ends = [match.end() for match in named.finditer(line)]
    for end in ends:
        lexer = shlex.shlex(line[end:], posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word in _END_OF_COMMAND or set(word) <= set(";|&<>"):
                break
            words.append(word)
        yield words
