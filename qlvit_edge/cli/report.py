"""`qlvit-edge report`: one page on how a trained run does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import (
    device_option,
    groups_options,
    require_one_grouping,
    white_level_option,
)
from qlvit_edge.errors import CheckpointError
from qlvit_edge.presence import present

if TYPE_CHECKING:
    import torch

    from qlvit_edge.evaluation.explanation import Panel
    from qlvit_edge.evaluation.overlay import Pixels
    from qlvit_edge.evaluation.run_report import Temperature
    from qlvit_edge.training.checkpoint import Checkpoint
    from qlvit_edge.training.report_images import ReportImages
    from qlvit_edge.training.run_report import Panels, Trained


_MOST_HELD_OUT = 1600
"""Images that a temperature is fitted to, as `calibrate` takes for the guard."""


@click.command("report")
@click.argument("run")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images, one folder per class  [default: what the run was trained on]",
)
@click.option(
    "--split",
    "split_file",
    type=click.Path(path_type=Path),
    help="Split whose test side is measured  [default: the run's]",
)
@click.option("--every-image", is_flag=True, help="Measure every image of --data, not a test side.")
@groups_options("draw the intervals over sources, not over images")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for report.html and report.json  [default: the run's]",
)
@device_option
@white_level_option
def command(
    run: str,
    data: Path | None,
    split_file: Path | None,
    every_image: bool,
    groups: Path | None,
    expression: str | None,
    out: Path | None,
    device: str,
) -> None:
    """Write one page on RUN (a run folder or a model's name): report.html, and report.json.

    `train` writes it at its end; this makes it again, or on other images. On the page: training
    curves, accuracy and the rest by class with intervals, confusion, ROC, reliability with the
    temperature, the most confident mistakes, and maps of where the network found the class: by
    Grad-CAM where captum is installed, else the float network's class map, and beside it the class
    map of the run's integer file where there is one.

    \b
    Example:
      qlvit-edge report runs/wbc
      qlvit-edge report runs/wbc --data other-lab/ --every-image --out report/
      qlvit-edge report blood-nano --out report/
    """
    require("report", "torch", "safetensors")
    from qlvit_edge import bundled
    from qlvit_edge.cli.options import white_level_of
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.evaluation.image_set import given_sources
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.training.checkpoint import load_checkpoint
    from qlvit_edge.training.devices import choose_device
    from qlvit_edge.training.report_images import report_images
    from qlvit_edge.training.run_report import make_report, write_report

    require_one_grouping(groups, expression)
    if every_image and split_file is not None:
        raise click.UsageError("give --split or --every-image, not both")
    chosen_device = choose_device(device)
    checkpoint = load_checkpoint(bundled.resolve_run(run))
    if out is None and bundled.is_named(run):
        raise CheckpointError(
            run, "is the name of a model, which stays as it is", "name a folder with --out"
        )
    if data is None and bundled.is_named(run) and not Path(checkpoint.run.data).exists():
        data, every_image = bundled.CROPS, True
    white_level_of(checkpoint.run)
    target = out or checkpoint.folder
    images = report_images(
        checkpoint,
        data,
        split_file,
        every_image=every_image,
        sources=lambda folder: given_sources(folder, groups, expression),
        progress=progress_bar,
    )
    ensure_writable(target)
    trained = _trained(checkpoint, chosen_device)
    with _panels(checkpoint, trained) as panels:
        found = make_report(
            trained,
            images.folder,
            images.test,
            _temperature(checkpoint, trained, images),
            panels=panels,
            notes=images.notes,
        )
    page = write_report(target, found)
    quality = found.views[0].quality
    click.echo(
        f"accuracy {quality.accuracy:.2%}, macro recall {quality.macro.recall:.2%} of "
        f"{len(found.images)} images; calibration error {found.views[0].calibration_error:.1%}"
    )
    click.echo(f"report: {page}")
    next_step(f"look at {shell_word(page)} in a browser")


def _trained(checkpoint: Checkpoint, device: torch.device) -> Trained:
    """Return the run with its history, as far as the folder has one."""
    from qlvit_edge.training.history import recorded_history
    from qlvit_edge.training.run_report import Trained

    history = recorded_history(checkpoint.folder)
    return Trained(
        checkpoint.folder.resolve().name,
        checkpoint.run,
        checkpoint.network.to(device),
        device,
        history.rows,
        history.best_epoch,
        history.facts,
    )


def _temperature(checkpoint: Checkpoint, trained: Trained, images: ReportImages) -> Temperature:
    """Return the temperature of the run's guard, or one fitted to what training held out."""
    from qlvit_edge.calibration.guard import guard_of
    from qlvit_edge.calibration.guard_images import guard_images
    from qlvit_edge.evaluation.run_report import Temperature
    from qlvit_edge.modelfile.guard import GUARD_FILE
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE

    if all((checkpoint.folder / name).is_file() for name in (GUARD_FILE, CALIBRATION_FILE)):
        guard = present(guard_of(checkpoint), "the run's guard")
        cells = guard.evidence.cells.get("held out", 0)
        origin = f"{cells} held-out cells by the run's guard, whose files carry it"
        return Temperature(guard.temperature, origin, fitted=True)
    if images.split is None:
        return Temperature(origin="the images that training held out are not among these")
    chosen = guard_images(checkpoint.run, images.folder, images.split, _MOST_HELD_OUT)
    if chosen.missing:
        return Temperature(origin=f"no temperature was fitted, for {chosen.missing}")
    return trained.temperature(chosen.held_out)


@contextmanager
def _panels(checkpoint: Checkpoint, trained: Trained) -> Iterator[Panels]:
    """Yield what makes maps: of the checkpoint, of its integer file, and Grad-CAM."""
    from qlvit_edge.cli.explain_sources import Sources, model_in
    from qlvit_edge.inference.class_maps import ClassMapper
    from qlvit_edge.training.grad_cam import GradCam

    has_captum = importlib.util.find_spec("captum") is not None
    grad_cam = GradCam(checkpoint) if has_captum and trained.device.type == "cpu" else None
    file = model_in(checkpoint.folder)
    mapper = None if file is None else ClassMapper(file)
    if mapper is None and grad_cam is None:
        yield trained.panel
        return
    with Sources(trained.name, mapper, grad_cam) as sources:

        def panels(pixels: Pixels, label: str) -> Sequence[Panel]:
            found = sources.panels(pixels, label, cut=False)
            return found if grad_cam is not None else [*found, *trained.panel(pixels, label)]

        yield panels
