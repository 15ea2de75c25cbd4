"""The pages for readers hold what exists: links, commands, options, files, SQL, Python."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sqlite3
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from pages import (
    OMISSIONS,
    PAGES,
    ROOT,
    anchors,
    blocks,
    code_spans,
    command_lines,
    links,
    program_texts,
    text_of,
)

from qlvit_edge.cli import cli
from qlvit_edge.microscope import backends, schema

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*")
"""Words that a page writes for something of the reader's own, such as FILE."""


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, through groups, and the words that remain."""
    command: click.Command = cli
    remaining = [word for word in words if word not in OMISSIONS]
    while isinstance(command, click.Group):
        while remaining and remaining[0].startswith("-"):
            options = command.get_params(click.Context(command, help_option_names=["--help"]))
            assert any(remaining[0] in option.opts for option in options), remaining[0]
            remaining.pop(0)
        if not remaining:
            break
        name = remaining.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    return command, remaining


def check_call(words: list[str]) -> None:
    """Parse words as the command line would, without running anything.

    Where arguments are left out ("…"), required ones may be missing; a bare name of a command is
    its name in a sentence. Placeholders in capitals stand for any value.
    """
    command, remaining = leaf(words)
    complete = not OMISSIONS & set(words)
    if not remaining or isinstance(command, click.Group):
        return
    with click.Context(command, info_name=command.name) as context:
        values, unused, _ = command.make_parser(context).parse_args(list(remaining))
        assert not unused, f"arguments too many: {unused}"
        for param in command.get_params(context):
            value = values.get(param.name)
            given = not (value is None or repr(value).startswith("Sentinel.") or value in ((), []))
            if given and not (isinstance(value, str) and PLACEHOLDER.fullmatch(value)):
                param.type_cast_value(context, value)
            needed = complete and is_required(param, remaining)
            assert given or not needed, f"{param.opts[0]} is missing"


def is_required(param: click.Parameter, words: list[str]) -> bool:
    """Whether a call must give this: always, or, where its help says so, but for an option.

    That is "[required; with --quantise: …]" in the help. A configuration file may hold everything.
    """
    if "--config" in words:
        return False
    but_with = re.search(r"\[required; with (--[a-z-]+):", getattr(param, "help", None) or "")
    return param.required or (but_with is not None and but_with[1] not in words)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for line, target in links(text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        there = (page.parent / name) if name else page
        if not there.exists():
            missing.append(f"line {line}: {target}: no such file")
        elif anchor and anchor not in anchors(text_of(there)):
            missing.append(f"line {line}: {target}: no such heading")
    assert not missing


@each_page
def test_commands_that_a_page_shows_can_be_parsed(page: Path) -> None:
    wrong = []
    for line, words in command_lines(text_of(page), "qlvit-edge"):
        try:
            check_call(words)
        except (AssertionError, click.ClickException) as error:
            said = error.format_message() if isinstance(error, click.ClickException) else error
            wrong.append(f"line {line}: qlvit-edge {' '.join(words)}: {said}")
    assert not wrong


def test_commands_that_the_help_shows_can_be_parsed() -> None:
    wrong, seen = [], 0
    for command in every_command():
        for _, words in command_lines(f"```\n{command.help}\n```\n", "qlvit-edge"):
            seen += 1
            try:
                check_call(words)
            except (AssertionError, click.ClickException) as error:
                wrong.append(f"{command.name}: {' '.join(words)}: {error}")
    assert not wrong
    assert seen > 25


def every_command() -> list[click.Command]:
    """The command line and all commands below it."""
    found: list[click.Command] = [cli]
    for command in found:
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            found += [one for name in names if (one := command.get_command(context, name))]
    return found


def test_commands_that_messages_propose_can_be_parsed() -> None:
    wrong, seen = [], 0
    for module, text in program_texts():
        page = f"```\n{text}\n```\n" if re.match("qlvit-edge [a-z]+ ", text) else text
        for _, words in command_lines(page, "qlvit-edge") if page.count("`") > 1 else ():
            seen += 1
            try:
                check_call([*words, "…"])
            except (AssertionError, click.ClickException) as error:
                wrong.append(f"{module}: {' '.join(words)}: {error}")
    assert not wrong
    assert seen > 20


@pytest.mark.parametrize(
    "call",
    [
        "predikt cells/",
        "data shuffle cells/",
        "train --data cells/ --split s.json --out r --epoch-count 3",
        "train --data cells/ --split s.json --out r --norm group",
        "train --data cells/ --split s.json --out r --epochs 0",
        "calibrate runs/a runs/b",
        "run blood-nano --camera",
        "convert runs/wbc --out a.tflite --json",
    ],
)
def test_a_wrong_command_would_be_found(call: str) -> None:
    page = f"text `qlvit-edge {call}`\n\n```sh\n$ qlvit-edge {call}  # why\n```\n"
    found = list(command_lines(page, "qlvit-edge"))
    assert len(found) == 2
    for _, words in found:
        with pytest.raises((AssertionError, click.ClickException)):
            check_call(words)


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("train --data cells/ --out r", "--split"),
        ("train --split s.json --out r", "--data"),
        ("train --quantise --from r", "--out"),
        ("train --quantise --from r --out i", None),
    ],
)
def test_what_a_block_leaves_out_must_be_said(call: str, missing: str | None) -> None:
    (_, words), *_ = command_lines(f"```\nqlvit-edge {call}\n```\n", "qlvit-edge")
    check_call([*words, "…"])
    if missing is None:
        check_call(words)
        return
    with pytest.raises(AssertionError, match=f"{missing} is missing"):
        check_call(words)


def test_commands_are_read_as_a_shell_reads_them() -> None:
    page = (
        "`qlvit-edge run M --camera\nC --out R`\n"
        "```sh\nsudo qlvit-edge data split 'a b' \\\n  --out s.json  # note\n"
        "qlvit-edge inspect F --json | jq .a; qlvit-edge cost nano > out\n"
        "next: qlvit-edge validate M --out r/\n"
        "scp dist/qlvit-edge x\nqlvit-edge, version 1\n```\n"
    )
    assert [words for _, words in command_lines(page, "qlvit-edge")] == [
        ["data", "split", "a b", "--out", "s.json"],
        ["inspect", "F", "--json"],
        ["cost", "nano"],
        ["validate", "M", "--out", "r/"],
        ["run", "M", "--camera", "C", "--out", "R", "…"],
    ]
    indented = (
        "Text:\n\n    make env  # all\n    qlvit-edge cost nano \\\n      --json\n\nmake no\n"
    )
    assert [words for _, words in command_lines(indented, "make")] == [["env"]]
    assert [words for _, words in command_lines(indented, "qlvit-edge")] == [
        ["cost", "nano", "--json"]
    ]
    quoted = '```\n$ sqlite3 -box r.sqlite "SELECT 1\n    FROM runs"\nrun\n```\n'
    assert [words for _, words in command_lines(quoted, "sqlite3")] == [
        ["-box", "r.sqlite", "SELECT 1     FROM runs"]
    ]


@each_page
def test_files_that_a_page_names_exist(page: Path) -> None:
    tops = "qlvit_edge|converters|calibration|benchmarks|tests|firmware_scripts|docs|models"
    tops += "|requirements"
    path = re.compile(rf"(?:{tops})/[\w./{{}},-]*")
    named = [(line, word) for line, span in code_spans(text_of(page)) for word in span.split()]
    missing = [
        f"line {line}: {one}"
        for line, word in named
        if path.fullmatch(word)
        for one in expanded(word)
        if not (ROOT / one).exists()
    ]
    assert not missing


def expanded(path: str) -> list[str]:
    """A path with braces, as a shell expands it."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


@each_page
def test_options_of_scripts_exist(page: Path) -> None:
    wrong = []
    for line, words in command_lines(text_of(page), "python"):
        if not (words and words[0].startswith("benchmarks/")):
            continue
        script = ROOT / words[0]
        source = text_of(script) if script.exists() else ""
        if "from contest.arguments import" in source:
            source += text_of(ROOT / "benchmarks" / "contest" / "arguments.py")
        options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
        wrong += [f"line {line}: {words[0]} {o}" for o in options if f'"{o}"' not in source]
        wrong += [] if source else [f"line {line}: {words[0]}"]
    installer = text_of(ROOT / "firmware_scripts" / "install.sh")
    for place in ("./", "firmware_scripts/", ""):
        for line, words in command_lines(text_of(page), f"{place}install.sh"):
            options = [word for word in words if word.startswith("--")]
            unknown = [option for option in options if f"  {option} " not in installer]
            wrong += [f"line {line}: {place}install.sh {option}" for option in unknown]
    assert not wrong


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):(?!=)", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = [
        (line, word)
        for line, words in command_lines(text_of(page), "make")
        for word in words
        if re.fullmatch(r"[a-z0-9-]+", word)
    ]
    assert not [f"line {line}: make {word}" for line, word in named if word not in targets]


@each_page
def test_queries_run_on_a_results_file(page: Path) -> None:
    text = text_of(page)
    queries = [(block.line, block.text) for block in blocks(text) if block.language == "sql"]
    for line, words in command_lines(text, "sqlite3"):
        queries += [(line, word) for word in words if re.match(r"\s*SELECT\s", word)]
    assert not refused_queries(queries)


def test_queries_that_help_and_messages_show_run_on_a_results_file() -> None:
    shown = [
        word
        for command in every_command()
        for _, words in command_lines(f"```\n{command.help}\n```\n", "sqlite3")
        for word in words
        if word.startswith("SELECT ")
    ]
    built = [
        text.replace("FILLED_IN", "1")
        for _, text in program_texts()
        if re.match(r"SELECT \* FROM \w+ WHERE run = ", text)
    ]
    assert len(shown) >= 1
    assert len(built) >= 1
    assert not refused_queries(list(enumerate(shown + built)))


def refused_queries(queries: list[tuple[int, str]]) -> list[str]:
    """What SQLite says against queries of a results file, each given with its line."""
    connection = sqlite3.connect(":memory:")
    schema.make(connection)
    backends.make(connection)
    wrong = []
    for line, query in queries:
        try:
            connection.executescript(query)
        except sqlite3.Error as error:
            wrong.append(f"line {line}: {error}")
    connection.close()
    return wrong


@each_page
def test_what_python_blocks_import_exists(page: Path) -> None:
    for block in blocks(text_of(page)):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qlvit_edge"):
                module = importlib.import_module(node.module or "")
                for name in node.names:
                    assert hasattr(module, name.name), f"{page.name}: {node.module}.{name.name}"


def test_messages_in_troubleshooting_are_those_of_the_program() -> None:
    said = [text for _, text in program_texts()]
    said += [text_of(script) for script in sorted((ROOT / "firmware_scripts").rglob("*.sh"))]
    page = ROOT / "docs" / "troubleshooting.md"
    shown, unknown = 0, []
    for row in re.findall(r"^\| (.*?) \| ", text_of(page), re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", row):
            parts = [re.escape(part) for part in message.split("…") if part.strip()]
            pattern = re.compile(".{0,200}?".join(parts), re.DOTALL)
            shown += 1
            unknown += [] if any(pattern.search(text) for text in said) else [message]
    assert not unknown
    assert shown > 50


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {
        (index.parent / target.partition("#")[0]).resolve() for _, target in links(text_of(index))
    }
    pages = {page for page in PAGES if page.parent == index.parent and page != index}
    assert not sorted(page.name for page in pages - listed)


def test_pictures_are_used_and_small() -> None:
    shown = {
        (page.parent / target).resolve() for page in PAGES for _, target in links(text_of(page))
    }
    pictures = [p for p in (ROOT / "docs").rglob("*") if p.suffix in {".png", ".jpg", ".svg"}]
    assert not [picture.name for picture in pictures if picture.resolve() not in shown]
    assert not [picture.name for picture in pictures if picture.stat().st_size > 150_000]
