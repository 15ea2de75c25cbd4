"""What the pages for readers hold (links, headings, code, command lines), and the program's texts.

A page is read as Markdown is written here: blocks of code stand between lines of three backquotes
or are indented by four, code within a line stands between single backquotes.
"""

from __future__ import annotations

import ast
import functools
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
        *(ROOT / "models").rglob("*.md"),
    ]
)
OMISSIONS = {"…", "...", "...."}
"""What stands for arguments that a page leaves out."""

_FENCE = re.compile(r"^ *```(\w*) *$")
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_INDENTED = "indented"
_BEFORE_A_COMMAND = r"(?:^ *|^\$ |[;&|(] *|\bsudo |\bnice |\bnext: |^\w+=\S+ )"
_END_OF_COMMAND = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"}


def text_of(page: Path) -> str:
    """A file's text."""
    return page.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A block of code: its language ('' if none is named), first line's number, and text."""

    language: str
    line: int
    text: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page: fenced ones, and lines indented by four after an empty one."""
    language: str | None = None
    start, lines = 0, list[str]()
    before = ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = _FENCE.match(line)
        if language == _INDENTED and not line.startswith("    "):
            yield Block("", start, "\n".join(lines))
            language = None
        if language is None and fence:
            language, start, lines = fence[1], number + 1, []
        elif language is None and line.startswith("    ") and not before.strip():
            language, start, lines = _INDENTED, number, [line[4:]]
        elif language == _INDENTED:
            lines.append(line[4:])
        elif language is not None and line.strip() == "```":
            yield Block(language, start, "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
        before = line
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
    line after a backslash or within quotes; a comment, a pipe or a redirection ends it. In prose it
    is code that begins with the program's name, and "…" is added: there it need not be whole.
    """
    for block in blocks(text):
        if block.language not in ("", "sh", "bash", "console"):
            continue
        for offset, line in _joined(block.text):
            yield from ((block.line + offset, words) for words in _calls(line, program))
    for number, span in code_spans(text):
        if span.split(" ")[0] == program or f"; {program} " in span:
            yield from ((number, [*words, "…"]) for words in _calls(span, program))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those that follow a backslash, or a quote that is open after a prompt."""
    begun, start = "", 0
    for number, line in enumerate(text.splitlines()):
        start = start if begun else number
        begun += line
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
        elif begun.startswith("$ ") and begun.count('"') % 2:
            begun += " "
        else:
            yield start, begun
            begun = ""


def _calls(line: str, program: str) -> Iterator[list[str]]:
    named = re.compile(rf"{_BEFORE_A_COMMAND}{re.escape(program)}(?= +[^\s,.:]| *$)")
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


@functools.cache
def program_texts() -> list[tuple[str, str]]:
    """Every text in the program with its module; "FILLED_IN" is what a formatted one fills in."""
    found: list[tuple[str, str]] = []
    modules = [
        m for top in ("qlvit_edge", "converters", "calibration") for m in (ROOT / top).rglob("*.py")
    ]
    for module in modules:
        pieces: set[ast.AST] = set()
        for node in ast.walk(ast.parse(text_of(module))):
            if isinstance(node, ast.JoinedStr):  # it comes before its pieces
                pieces.update(node.values)
                parts = [
                    v.value if isinstance(v, ast.Constant) else "FILLED_IN" for v in node.values
                ]
                found.append((module.name, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [] if node in pieces else [(module.name, node.value)]
    return found
