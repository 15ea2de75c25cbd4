"""`qlvit-edge data check`, `qlvit-edge data split` and, from its own module, `data merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli import data_merge
from qlvit_edge.cli.console import error_console, next_step, shell_word, table_console
from qlvit_edge.cli.options import (
    Number,
    Whole,
    groups_options,
    require_one_grouping,
    white_level_option,
)
from qlvit_edge.cli.suggestions import SuggestingGroup
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from qlvit_edge.data.checks import CheckReport, Copies
    from qlvit_edge.data.folder import ImageFolder
    from qlvit_edge.data.split import Split

_COPY, _COPIES = "group of exact duplicates", "groups of exact duplicates"
_SHOWN = 10  # findings of one sort that are printed; --json has them all


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Check a folder of labelled images and split it.

    The folder holds one folder per class, named after it, with JPEG, PNG, BMP or TIFF
    images (grey, RGB, alpha, 8 or 16 bit). Folders of several microscopes become one
    manifest with `data merge`.

    \b
    Example:
      qlvit-edge data check cells/
      qlvit-edge data split cells/ --out split.json
    """


command.add_command(data_merge.command)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything found as JSON.")
@click.option(
    "--split",
    "split_file",
    type=click.Path(path_type=Path),
    help="Also look for copies on both sides of this split.",
)
@white_level_option
def check(directory: Path, as_json: bool, split_file: Path | None) -> None:
    """Decode and hash every image in DIRECTORY and list what is wrong.

    Exit code 1 when files do not decode or the same pixels have two labels. Duplicates,
    copies on both sides of a split and ignored files are warnings: exit code 0.

    \b
    Example:
      qlvit-edge data check cells/ --split split.json
    """

    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.files import json_text

    folder = scan(directory)
    split = load_split(split_file) if split_file is not None else None
    report = _checked(folder, split)
    if as_json:
        fields = report.model_dump(mode="json")
        fields["conflicts"] = [group.names for group in report.conflicts]
        fields["straddling"] = [group.names for group in report.straddling]
        fields["usable"] = report.usable
        click.echo(json_text(fields))
    else:
        _print_report(report, table_console(wrap=False))
    if report.usable:
        next_step(
            f"qlvit-edge data split {shell_word(directory)} --out split.json", as_json=as_json
        )
    else:
        next_step("correct or remove what is listed as an error, and check again", as_json=as_json)
        click.get_current_context().exit(1)


@command.command("split")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File to write the split to."
)
@click.option(
    "--test",
    type=Number(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of each class on the test side.",
)
@click.option(
    "--seed",
    type=Whole(),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of the draw: another one gives another split.",
)
@groups_options("keep all copies of one source on one side")
def split_command(
    directory: Path,
    out: Path,
    test: float,
    seed: int,
    groups: Path | None,
    expression: str | None,
) -> None:
    """Divide the images into a training and a test side.

    Every image is decoded first: data that `data check` calls unusable is refused.

    A manifest of `data merge` is divided by the sources it names, each microscope for itself.
    Without a grouping each class is divided at random, as in the paper; copies of one
    photograph, or images of one patient, then land on both sides. With --groups or
    --groups-from-name the sides share no source, and images whose source is not known for
    sure are left out of both.

    \b
    Example:
      qlvit-edge data split cells/ --out split.json --groups source_map.csv
      qlvit-edge data split cells/ --out split.json --groups-from-name '(patient[0-9]+)'
    """
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.names import groups_from_names
    from qlvit_edge.data.source_map import read_source_map
    from qlvit_edge.data.split import (
        grouped_split,
        source_split,
        stratified_split,
    )
    from qlvit_edge.files import ensure_writable, require_other, write_text

    require_other(out, directory, *([] if groups is None else [groups]))
    require_one_grouping(groups, expression)
    folder = scan(directory)
    notes: list[str] = []
    sources = {} if expression is None else groups_from_names(folder, expression)
    report = _checked(folder)
    report.require_usable()
    if expression is not None:
        split = grouped_split(folder, test, seed, sources)
        notes.append(f"left out: {counted(len(split.left_out), 'image')} whose name does not match")
    elif groups is None and folder.sources:
        split = source_split(folder, test, seed)
        own = counted(len(folder.images) - len(folder.sources), "image")
        notes.append(f"by the sources in the manifest; {own} without one counted by themselves")
        notes += _copies_on_both_sides(split, report)
    elif groups is None:
        split = stratified_split(folder, test, seed)
        notes += _leaks(folder, split, report)
    else:
        known = read_source_map(groups)
        split = grouped_split(folder, test, seed, known.sources)
        weak = sum(name in known.weak for name in split.left_out)
        without = counted(len(split.left_out) - weak, "image")
        notes.append(f"left out: {counted(weak, 'image')} whose source is not sure")
        notes.append(f"left out: {without} without a row in {groups}")
    ensure_writable(out.parent)
    write_text(out, split.model_dump_json(indent=1) + "\n")
    console = table_console(wrap=False)
    _print_split(split, folder, console)
    for note in notes:
        console.print(note, markup=False)
    console.print(f"{out}: fingerprint {split.fingerprint[:12]}", markup=False)
    next_step(
        f"qlvit-edge train --data {shell_word(directory)} --split {shell_word(out)} --model nano "
        "--out runs/first"
    )


def _checked(folder: ImageFolder, split: Split | None = None) -> CheckReport:
    """Check every image, with a progress bar."""
    from rich.progress import Progress

    from qlvit_edge.data.checks import check_folder

    errors = error_console()
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("decoding", total=len(folder.images))
        return check_folder(folder, split, lambda: progress.advance(task))


def _leaks(folder: ImageFolder, split: Split, report: CheckReport) -> list[str]:
    """Warn of what a split at random puts on both sides."""
    from qlvit_edge.data.names import hint

    notes = _copies_on_both_sides(split, report)
    found = hint(folder)
    if found is not None:
        notes.append(
            "warning: names suggest several images of one patient or slide "
            f"({found.example[0]} and {found.example[1]}; {found.groups} in all); a split at "
            "random puts them on both sides and flatters the network. Keep each on one side: "
            f"--groups-from-name '{found.expression}'"
        )
    return notes


def _copies_on_both_sides(split: Split, report: CheckReport) -> list[str]:
    notes: list[str] = []
    side = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    sides = [{side[name] for name in group.names if name in side} for group in report.copies]
    both = sum(len(found) > 1 for found in sides)
    if both:
        notes.append(
            f"warning: {counted(both, 'group')} of exact copies "
            f"{'is' if both == 1 else 'are'} on both sides; remove the copies, "
            "`qlvit-edge data check` lists them"
        )
    return notes


def _print_report(report: CheckReport, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(report.root), title_justify="left")
    table.add_column("class")
    for column in ("images", "smallest", "largest", "sizes"):
        table.add_column(column, justify="right")
    table.add_column("not 8-bit RGB")
    with_split = report.unplaced is not None
    if with_split:
        table.add_column("train", justify="right")
        table.add_column("test", justify="right")
    for entry in report.classes:
        cells = [
            escape(entry.name),
            str(entry.images),
            "x".join(map(str, entry.smallest or ())),
            "x".join(map(str, entry.largest or ())),
            str(entry.sizes),
            ", ".join(f"{count} {_short(kind)}" for kind, count in entry.kinds.items()),
        ]
        table.add_row(*cells, *([str(entry.train), str(entry.test)] if with_split else []))
    console.print(table)
    damaged = [f"{name}: {finding}" for name, finding in report.damaged.items()]
    for level, one, many, lines in (
        ("error", "file does not decode", "files do not decode", damaged),
        *_changed(report),
        ("error", "image has two labels", "images have two labels", _lines(report.conflicts)),
        ("warning", _COPY, _COPIES, _lines(report.copies)),
    ):
        _print_list(console, level, (one, many), lines)
    explained = [
        f"{entry.name}: {count} {kind}"
        for entry in report.classes
        for kind, count in entry.kinds.items()
        if kind != _short(kind)
    ]
    if explained:
        kinds = ("kind of image to look at", "kinds of images to look at")
        _print_list(console, "warning", kinds, explained)
    if with_split:
        sides = ("group of copies on both sides", "groups of copies on both sides")
        _print_list(console, "warning", sides, _lines(report.straddling))
        unplaced = counted(report.unplaced or 0, "image")
        console.print(f"on neither side of the split: {unplaced}")
    for note in report.passed_over:
        console.print(f"warning: {note}", markup=False)
    console.print("usable" if report.usable else "not usable as it is: see the errors")


def _changed(report: CheckReport) -> list[tuple[str, str, str, list[str]]]:
    """Only a manifest knows what its files were."""
    if not report.changed:
        return []
    since = "changed since the manifest was made"
    return [("error", f"file {since}", f"files {since}", report.changed)]


def _short(kind: str) -> str:
    """Return a kind of image without the explanation that follows it in brackets."""
    return kind.partition(" (")[0]


def _lines(groups: list[Copies]) -> list[str]:
    return [
        " = ".join(group.names) + (" (identical files)" if group.same_bytes else "")
        for group in groups
    ]


def _print_list(console: Console, level: str, nouns: tuple[str, ...], lines: list[str]) -> None:
    console.print(f"{level if lines else 'good'}: {counted(len(lines), *nouns)}", markup=False)
    for line in lines[:_SHOWN]:
        console.print(f"  {line}", markup=False)
    if len(lines) > _SHOWN:
        console.print(f"  and {len(lines) - _SHOWN} more (--json lists all)", markup=False)


def _print_split(split: Split, folder: ImageFolder, console: Console) -> None:
    from collections import Counter

    from rich.markup import escape
    from rich.table import Table

    sides = {"train": split.train, "test": split.test, "left out": split.left_out}
    counts = {
        side: Counter(name.partition("/")[0] for name in names) for side, names in sides.items()
    }
    table = Table()
    table.add_column("class")
    for column in (*sides, *(["sources train", "sources test"] if split.grouped else [])):
        table.add_column(column, justify="right")
    for name in folder.classes:
        cells = [str(counts[side][name]) for side in sides]
        if split.grouped:
            for side in ("train", "test"):
                own = {split.groups[n] for n in sides[side] if n.startswith(f"{name}/")}
                cells.append(str(len(own)))
        table.add_row(escape(name), *cells)
    console.print(table)
