"""`qlvit-edge adapt`: a run and another microscope's cells in, a run fitted to it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Whole, white_level_of, white_level_option
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.adaptation.cells import Cells, Show
    from qlvit_edge.model.configs import NetworkConfig


@click.command("adapt")
@click.argument("run")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of pictures from the new microscope, with folders inside or not; no labels.",
)
@click.option(
    "--labelled",
    type=click.Path(path_type=Path),
    help="Folder of labelled cells from it: one folder per class of the run, any of them, "
    "from 5 cells each.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder to write.")
@click.option(
    "--cells/--fields",
    "single",
    default=None,
    help="Pictures in --images show one cell each, or fields of view, which are cut  "
    "[default: told from some of them]",
)
@click.option(
    "--seed",
    type=Whole(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Number of everything drawn: the same one fits the same network.",
)
@white_level_option
def command(
    run: str, images: Path, labelled: Path | None, out: Path, single: bool | None, seed: int
) -> None:
    """Fit the trained network RUN (a run folder or a bundled name) to another microscope.

    Without labels: the statistics of its BatchNorm layers are found on the new cells, and it is
    trained on its own answers; each step is kept only where nothing speaks against it. How right
    it is cannot be known without labels. With labels: its head is refitted, or all of it trained,
    in the way that cross-validation chooses, and never to what is worse by it. OUT is a run folder
    like any other, calibrated anew on the new cells; labelled cells are listed as trained on. Takes
    some minutes. For research use only.

    \b
    Example:
      qlvit-edge adapt blood-nano --images slides/ --out runs/lab
      qlvit-edge adapt blood-nano --images slides/ --labelled cells/ --out runs/lab
    """
    require("train", "torch", "safetensors")
    from qlvit_edge.adaptation.run_folder import (
        require_free,
        require_listed,
        require_outside,
        write_run,
    )
    from qlvit_edge.adaptation.session import adapt, record, require_enough, require_labels
    from qlvit_edge.bundled import resolve_run
    from qlvit_edge.cli.adapt_text import print_adaptation
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.training.checkpoint import load_checkpoint

    require_free(out)
    require_outside(out, images)
    ensure_writable(out.absolute().parent)
    checkpoint = load_checkpoint(resolve_run(run))
    white_level_of(checkpoint.run)
    network, names = checkpoint.run.network, checkpoint.run.classes
    known = None
    if labelled is not None:
        require_listed(checkpoint)
        known = _read_labelled(labelled, names, network)
        require_labels(known, names, labelled)
    cells, show = _read_unlabelled(images, network, single)
    require_enough(cells, images)
    adaptation = adapt(checkpoint, cells, known, seed, progress_bar)
    recorded = record(
        adaptation,
        checkpoint,
        cells,
        known,
        images=images.resolve().name,
        fields=show == "fields",
        seed=seed,
    )
    print_adaptation(adaptation, names, known)
    written = write_run(out, checkpoint, adaptation, recorded, cells, known, progress_bar)
    calibrated_on = counted(len(written.calibration.images), "cell")
    click.echo(f"calibrated on {calibrated_on} of the new microscope; run folder: {out}")
    if isinstance(written.guard, str):
        click.echo(f"no guard: {written.guard}")
    else:
        found = written.guard.evidence
        click.echo(
            f"guard: knows the new cells by {found.cells['training']} of them; of "
            f"{found.cells['held out']} others it rejects {found.rejected:.1%}"
        )
    file = shell_word(f"{out.resolve().name}.tflite")
    next_step(
        f"qlvit-edge convert {shell_word(out)} --out {file}", "make the integer file and prove it"
    )


def _read_unlabelled(
    folder: Path, network: NetworkConfig, single: bool | None
) -> tuple[Cells, Show]:
    """Read the pictures of a folder, and say what they show."""
    from qlvit_edge.adaptation.cells import read_cells, what_they_show
    from qlvit_edge.adaptation.pictures import pictures_below
    from qlvit_edge.cli.progress import progress_bar

    pictures = pictures_below(folder)
    show: Show = "cells" if single else "fields"
    if single is None:
        show = what_they_show(pictures)
    with progress_bar("reading pictures", len(pictures)) as advance:
        found = read_cells(pictures, network, show, advance)
    shown = "fields of view" if show == "fields" else "single cells"
    told = "" if single is not None else ", told by their size and what is found in them"
    click.echo(
        f"{folder}: {counted(len(found.cells), 'cell')} of {counted(found.pictures, 'picture')} of "
        f"{shown}{told}"
    )
    _say_what_is_missing(found, network.channels)
    return found, show


def _read_labelled(folder: Path, names: list[str], network: NetworkConfig) -> Cells:
    """Read labelled cells, their folders matched to the run's classes."""
    from qlvit_edge.adaptation.cells import read_cells
    from qlvit_edge.adaptation.pictures import labelled_pictures
    from qlvit_edge.cli.progress import progress_bar

    pictures, notes = labelled_pictures(folder, names)
    for note in notes:
        click.echo(note)
    with progress_bar("reading labelled cells", len(pictures)) as advance:
        found = read_cells(pictures, network, "cells", advance)
    if found.pictures + len(found.unread) < len(pictures):
        click.echo(f"{folder}: {len(found.cells)} of {len(pictures)} labelled pictures are used")
    _say_what_is_missing(found, network.channels)
    return found


def _say_what_is_missing(found: Cells, channels: int) -> None:
    from qlvit_edge.preprocess import note_on
    from qlvit_edge.text import plain

    if found.unread:
        name, reason = next(iter(found.unread.items()))
        click.echo(
            f"left out: {counted(len(found.unread), 'picture')} that cannot be read, such as "
            f"{plain(name)} ({reason})",
            err=True,
        )
    if found.empty:
        click.echo(f"{counted(found.empty, 'field')} without a whole cell")
    if found.kinds:
        from collections import Counter

        click.echo(note_on(Counter(found.kinds), channels))
