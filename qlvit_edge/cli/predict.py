"""`qlvit-edge predict`: classify image files and list the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from qlvit_edge.choices import VERDICTS
from qlvit_edge.cli.console import next_step, shell_word, table_console
from qlvit_edge.cli.delivery_options import model_path
from qlvit_edge.cli.options import (
    Whole,
    accept_at_option,
    allowance_options,
    found_cell_size_option,
    runtime_options,
    white_level_option,
)
from qlvit_edge.errors import DataError, GateError
from qlvit_edge.files import ensure_writable, require_target
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.inference.interpreter import Runtime
    from qlvit_edge.microscope.prediction import Prediction

Form = Literal["text", "csv", "json"]

_ENDINGS: dict[str, Form] = {".csv": "csv", ".json": "json", ".txt": "text"}

DEFAULT_MODEL = "blood-nano"


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="A .tflite file, a chain, the name of a bundled model, or `installed`.",
)
@click.option("--csv", "as_csv", is_flag=True, help="List the answers as CSV with a header.")
@click.option("--json", "as_json", is_flag=True, help="List the answers as a JSON array.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the list into a file, whose ending .csv, .json or .txt chooses the format.",
)
@click.option(
    "--find-cells",
    is_flag=True,
    help="Find the white cells of each image and classify their crops, as `run` does.",
)
@found_cell_size_option
@accept_at_option
@click.option(
    "--top",
    type=Whole(min=1, max=100),
    default=1,
    show_default=True,
    help="List so many of the most probable classes.",
)
@runtime_options
@allowance_options
@white_level_option
def command(
    images: tuple[Path, ...],
    model: str,
    as_csv: bool,
    as_json: bool,
    out: Path | None,
    find_cells: bool,
    cell_size: float | None,
    accept_at: float | None,
    top: int,
    kernels: str,
    runtime: str,
    allowance: Allowance,
) -> None:
    """Classify image files and list class, probability and whether it is accepted.

    IMAGES are files and folders, which are searched for images in and below them. Each image
    as a whole counts as one cell; --find-cells looks for the cells of a field. Answers below
    --accept-at are "not sure". For research use only, not for diagnosis.
    Exit code 1: an image could not be read; the others are listed.

    \b
    Example:
      qlvit-edge predict cells/*.png
      qlvit-edge predict fields/ --find-cells --top 3
      qlvit-edge predict cells/ --model wbc.tflite --out answers.csv
    """
    from qlvit_edge.cli.live import show_start
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.microscope.prediction import image_files, predictions

    form = _form(as_csv, as_json, out)
    files = image_files(images, lambda text: click.echo(f"note: {text}", err=True))
    classifier = Classifier(
        model_path(model),
        kernels=kernels,
        runtime=cast("Runtime", runtime),
        accept_at=accept_at,
        allowance=allowance,
    )
    show_start(classifier)
    top = min(top, len(classifier.labels))
    answers = predictions(classifier, files, find_cells=find_cells, cell_size=cell_size)
    tally = _Tally(classifier)
    listing = _Listing(form, out, top, find_cells, max(len(str(path)) for path in files))
    with _progress(len(files), shown=out is not None) as advance:
        for answer in answers:
            tally.add(answer)
            listing.add(answer)
            advance()
    listing.finish()
    _close(tally, len(files), model, out, quiet=form != "text" and out is None)


def _form(as_csv: bool, as_json: bool, out: Path | None) -> Form:
    """Return the form of the list, and check that there is a place for it.

    Raises:
        UsageError: two forms are asked for.
        DataError: ``out`` is not the name of a list, such as that of an image by mistake, or
            its folder does not exist.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json: choose one")
    asked: Form = "csv" if as_csv else "json" if as_json else "text"
    if out is None:
        return asked
    require_target(out)
    if not out.parent.is_dir():
        raise DataError(out, "its folder does not exist", f"make {out.parent} first")
    ensure_writable(out.absolute().parent)
    form = _ENDINGS.get(out.suffix.lower())
    if form is None:
        raise DataError(out, "is no name for a list", "name a .csv, .json or .txt file")
    if asked not in ("text", form):
        raise click.UsageError(f"--{asked} and --out {out}: choose one")
    return form


class _Tally:
    """Counts for the end."""

    def __init__(self, classifier: Classifier) -> None:
        from qlvit_edge.guard.statement import RunStatement

        guard = classifier.metadata.guard
        self.statement = None if guard is None else RunStatement(guard)
        self.verdicts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.channels = classifier.metadata.channels
        self.damaged = 0
        self.without_cell = 0

    def add(self, answer: Prediction) -> None:
        self.verdicts.update(cell.classification.verdict for cell in answer.cells)
        if self.statement is not None:
            for cell in answer.cells:
                self.statement.add(cell.classification.judgement)
        self.kinds.update(answer.kinds)
        self.damaged += answer.error is not None
        self.without_cell += answer.error is None and not answer.cells


class _Listing:
    """Answers on stdout as they come, or in a file that appears when it is complete."""

    def __init__(
        self, form: Form, out: Path | None, top: int, find_cells: bool, width: int
    ) -> None:
        self._form, self._out, self._top = form, out, top
        self._find, self._width = find_cells, min(width, 60)
        self._records: list[dict[str, object]] = []
        self._parts: list[str] = []
        if form == "csv":
            from qlvit_edge.microscope.prediction import columns, csv_text

            self._write(csv_text([columns(top, find_cells=find_cells)]))

    def add(self, answer: Prediction) -> None:
        from qlvit_edge.microscope.prediction import csv_text, records, rows

        if self._form == "json":
            self._records += records(answer, self._top)
        elif self._form == "csv":
            self._write(csv_text(rows(answer, self._top, find_cells=self._find)))
        else:
            for line in _lines(answer, self._top, self._width):
                self._write(f"{line}\n")

    def finish(self) -> None:
        from qlvit_edge.files import json_text, write_text

        if self._form == "json":
            self._write(json_text(self._records) + "\n")
        if self._out is not None:
            write_text(self._out, "".join(self._parts))

    def _write(self, text: str) -> None:
        if self._out is None:
            click.echo(text, nl=False)
        else:
            self._parts.append(text)


def _lines(answer: Prediction, top: int, width: int) -> Iterator[str]:
    """One line per cell for people."""
    from qlvit_edge.microscope.prediction import NO_CELL, ranked

    name = plain(str(answer.file)).ljust(width)
    if answer.error is not None:
        yield f"{name}  cannot be read: {plain(answer.error)}"
    elif not answer.cells:
        yield f"{name}  {NO_CELL}"
    for number, cell in enumerate(answer.cells, start=1):
        found = cell.classification
        place = f"  cell {number:<3}" if cell.box is not None else ""
        longest = max(map(len, found.probabilities))
        verdict: str = "not sure" if found.verdict == "uncertain" else found.verdict
        if verdict not in ("accepted", "not sure"):
            verdict += f": {found.reason}"
        others = ", ".join(
            f"{plain(label)} {chance:.1%}" for label, chance in ranked(found, top)[1:]
        )
        yield (
            f"{name}{place}  {plain(found.label).ljust(longest)}  {found.probability:6.1%}  "
            f"{verdict}{f'  ({others})' if others else ''}"
        )


def _progress(total: int, *, shown: bool) -> AbstractContextManager[Callable[[], None]]:
    """A bar where the answers do not scroll past on the same terminal."""
    from qlvit_edge.cli.progress import progress_bar

    if shown or not table_console().is_terminal:
        return progress_bar("classifying", total)
    return nullcontext(_nothing)


def _nothing() -> None:
    """The lines on the terminal are progress enough."""


def _close(tally: _Tally, files: int, model: str, out: Path | None, *, quiet: bool) -> None:
    """Say what came out, and fail where an image could not be read.

    Raises:
        GateError: as many images could not be read.
    """
    from qlvit_edge.preprocess import note_on

    if tally.kinds:
        click.echo(note_on(tally.kinds, tally.channels), err=True)
    if not quiet:
        parts = [
            f"{tally.verdicts['accepted']} accepted",
            f"{tally.verdicts['uncertain']} not sure",
        ]
        parts += [
            f"{tally.verdicts[verdict]} {verdict}"
            for verdict in VERDICTS[2:]
            if tally.verdicts[verdict]
        ]
        parts += [f"{tally.without_cell} without a cell"] if tally.without_cell else []
        parts += [f"{tally.damaged} not read"] if tally.damaged else []
        click.echo(f"{counted(files, 'image')}: {', '.join(parts)}")
        if out is not None:
            click.echo(f"list: {out}")
    if tally.statement is not None and (warning := tally.statement.finding().warning):
        click.echo(f"warning: {warning}", err=True)
    next_step(
        f"qlvit-edge validate {shell_word(model)} --data FOLDER --out report/",
        "how often such answers are right",
        as_json=quiet,
    )
    if tally.damaged:
        finding = f"{tally.damaged} of {files} could not be read"
        raise GateError("images", finding, "they are named in the list; check them")
