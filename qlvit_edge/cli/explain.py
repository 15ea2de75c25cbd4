"""`qlvit-edge explain`: show where in images a network finds a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.options import (
    accept_at_option,
    allowance_options,
    found_cell_size_option,
    runtime_options,
    white_level_option,
)
from qlvit_edge.errors import DataError, GateError
from qlvit_edge.text import counted, did_you_mean, plain

if TYPE_CHECKING:
    from qlvit_edge.cli.explain_sources import Sources
    from qlvit_edge.evaluation.explanation import Entry, Panel
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.interpreter import Runtime
    from qlvit_edge.microscope.explanation import Shown


@click.command("explain")
@click.argument("source", metavar="RUN_OR_MODEL")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for index.html, one PNG per image or cell, and explanations.json.",
)
@click.option(
    "--class",
    "label",
    metavar="NAME",
    help="Show the maps of this class  [default: of the class that is answered]",
)
@click.option(
    "--find-cells",
    is_flag=True,
    help="Find the white cells of each image and explain their crops, as `run` classifies them.",
)
@found_cell_size_option
@accept_at_option
@runtime_options
@allowance_options
@white_level_option
def command(
    source: str,
    images: tuple[Path, ...],
    out: Path,
    label: str | None,
    find_cells: bool,
    cell_size: float | None,
    accept_at: float | None,
    kernels: str,
    runtime: str,
    allowance: Allowance,
) -> None:
    """Show where in images a network finds the class that it answers.

    RUN_OR_MODEL is a .tflite file, whose class maps are worked out of its own integers, without
    torch; or a run folder, of whose checkpoint Grad-CAM is shown (needs the extra `explain`),
    beside the class maps of the .tflite made of it if one lies in the folder; or the name of a
    model, which has both. IMAGES are files and folders, which are searched for images in and
    below them. For research use only, not for diagnosis.
    Exit code 1: an image could not be read; the others are explained.

    \b
    Example:
      qlvit-edge explain blood-nano cells/*.png --out maps/
      qlvit-edge explain wbc.tflite fields/ --find-cells --class MONOCYTE --out maps/
    """
    from qlvit_edge.cli.explain_sources import Sources
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.microscope.explanation import explanations
    from qlvit_edge.microscope.prediction import image_files

    with ExitStack() as stack:
        opened = stack.enter_context(
            Sources.of(
                source,
                kernels=kernels,
                runtime=cast("Runtime", runtime),
                accept_at=accept_at,
                allowance=allowance,
            )
        )
        _require_class(label, opened.labels)
        files = image_files(
            images,
            lambda text: click.echo(f"note: {text}", err=True),
            as_model="name it before the images",
        )
        ensure_writable(out)
        shown = explanations(
            lambda pixels, cut: opened.panels(pixels, label, cut=cut),
            files,
            find=find_cells,
            cell_size=cell_size,
        )
        kinds: Counter[str] = Counter()
        entries = list(_written(shown, out, kinds))
        _finish(opened, entries, out, kinds)
    next_step(
        f"qlvit-edge explain {shell_word(source)} IMAGES --class NAME --out DIR",
        "the maps of another class",
    )
    damaged = sum(entry.damaged for entry in entries)
    if damaged:
        finding = f"{damaged} of {len(files)} could not be read"
        raise GateError("images", finding, "they are named on the page; check them")


def _require_class(label: str | None, labels: Iterable[str]) -> None:
    """Refuse a class that the network does not know.

    Raises:
        DataError: naming those it knows.
    """
    known = list(labels)
    if label is not None and label not in known:
        remedy = f"choose one of {', '.join(known)}{did_you_mean(label, known)}"
        raise DataError("--class", f"{plain(label)!r} is no class of this network", remedy)


def _written(
    shown: Iterator[Shown[tuple[Panel, ...]]], out: Path, kinds: Counter[str]
) -> Iterator[Entry]:
    """Write the picture of each, say what it shows, and return it without its pixels."""
    from qlvit_edge.evaluation import explanation
    from qlvit_edge.files import write_bytes

    for number, one in enumerate(shown, start=1):
        kinds.update(one.kinds)
        name = None
        small: tuple[bytes, ...] = ()
        if one.pixels is not None and one.found:
            name = _picture_name(number, one.file, one.number)
            write_bytes(out / name, explanation.picture(one.pixels, one.found))
            if number <= explanation.MOST_ON_PAGE:
                small = explanation.cards(one.pixels, one.found)
        cell = one.box
        box = None if cell is None else (cell.x, cell.y, cell.width, cell.height)
        entry = explanation.Entry(
            file=one.file,
            number=one.number,
            panels=one.found or (),
            error=one.error,
            damaged=one.damaged,
            picture=name,
            cards=small,
            box=box,
        )
        _say(entry)
        yield entry


def _picture_name(number: int, file: Path, cell: int | None) -> str:
    """A name that no other entry has, in order, and that any file system takes."""
    stem = plain(file.stem.encode("utf-8", "replace").decode("utf-8"))
    stem = "".join("_" if character in '<>:"/\\|?*' else character for character in stem)
    while len(stem.encode("utf-8")) > _MOST_NAME_BYTES:
        stem = stem[:-1]
    return f"{number:04}-{stem}{'' if cell is None else f'-cell{cell}'}.png"


_MOST_NAME_BYTES = 180


def _say(entry: Entry) -> None:
    """One line for each answer."""
    title = plain(entry.title)
    if entry.error is not None:
        click.echo(f"{title}  {plain(entry.error)}")
    for panel in entry.panels:
        even = ", the same everywhere" if panel.even else ""
        click.echo(
            f"{title}  {panel.source}: {plain(panel.answer)}  "
            f"({panel.method} of {plain(panel.shown)}{even})"
        )


def _finish(opened: Sources, entries: list[Entry], out: Path, kinds: Counter[str]) -> None:
    """Write the page and the list, and say where they are."""
    from qlvit_edge.evaluation import explanation
    from qlvit_edge.files import write_json, write_text
    from qlvit_edge.preprocess import note_on

    if kinds:
        click.echo(note_on(kinds, opened.channels), err=True)
    records = [entry.record() for entry in entries]
    write_json(out / "explanations.json", {"sources": opened.described, "images": records})
    facts = "; ".join(f"{what}: {text}" for what, text in opened.described.items())
    write_text(out / "index.html", explanation.page(opened.name, entries, facts))
    explained = sum(bool(entry.panels) for entry in entries)
    click.echo(f"{explained} of {counted(len(entries), 'entry', 'entries')} explained")
    click.echo(f"page: {plain(str(out / 'index.html'))}")
