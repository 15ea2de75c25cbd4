"""`qlvit-edge validate`: measure a model file's accuracy and speed on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.delivery_options import model_path
from qlvit_edge.cli.options import (
    Number,
    accept_at_option,
    allowance_options,
    groups_options,
    require_one_grouping,
    runtime_options,
    white_level_option,
)
from qlvit_edge.errors import DataError, GateError

if TYPE_CHECKING:
    from qlvit_edge.evaluation.answers import Answers, View
    from qlvit_edge.evaluation.validation_report import ValidationReport
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.interpreter import Runtime


@click.command("validate")
@click.argument("model")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with one folder of images per class; a bundled model has crops of its own.",
)
@click.option(
    "--split",
    "split_file",
    type=click.Path(path_type=Path),
    help="Use only the test side of this split; without it every image is used.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for report.json and index.html.",
)
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="FOLDER=CLASS",
    help="This folder holds that class of the model; nothing after '=': an unknown class. "
    "Can be given several times.",
)
@click.option(
    "--class-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The same from a JSON object or from a CSV with the columns folder,class.",
)
@click.option(
    "--unknown-classes",
    is_flag=True,
    help="Allow folders of classes that the model does not know: count how many it accepts.",
)
@groups_options("draw the intervals over sources, not over images")
@click.option(
    "--unknown",
    "strangers",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Images, or folders of images, of cells that the model does not know: how many are "
    "accepted, by folder, and how well they are told from known ones.",
)
@runtime_options
@allowance_options
@white_level_option
@click.option(
    "--find-cells",
    is_flag=True,
    help="Judge the crops around the found cells, as `run` sees them, instead of whole images.",
)
@click.option(
    "--one-view",
    is_flag=True,
    help="Measure only what is judged, instead of both whole images and crops.",
)
@accept_at_option
@click.option(
    "--min-accuracy",
    type=Number(0, 100),
    metavar="PERCENT",
    help="End with exit code 1 when the accuracy is below this, in percent (0 to 100).",
)
@click.option(
    "--max-latency",
    type=Number(min=0, min_open=True),
    metavar="MS",
    help="End with exit code 1 when more than one inference in ten takes longer (p90).",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json too.")
def command(
    model: str,
    data: Path | None,
    split_file: Path | None,
    out: Path,
    pairs: tuple[str, ...],
    class_map: Path | None,
    unknown_classes: bool,
    groups: Path | None,
    expression: str | None,
    strangers: Path | None,
    kernels: str,
    runtime: str,
    find_cells: bool,
    one_view: bool,
    accept_at: float | None,
    min_accuracy: float | None,
    max_latency: float | None,
    as_json: bool,
    allowance: Allowance,
) -> None:
    """Measure MODEL on labelled images: accuracy, golden pairs, latency, memory.

    MODEL is a .tflite file, integer or float, a chain, the name of a bundled model, or `installed`,
    the model that is installed on this device. Folders are matched with its classes whatever their
    capitals, spaces and underscores. The report (report.json and a self-contained index.html) is
    written whether or not the checks pass; its verdict is passed, failed, or reduced proof: all
    checks passed, on less than the whole test side of the split that the model was trained with.
    Exit code 1: an accuracy below the gate, a latency above the budget, images that cannot be
    read, or golden pairs that the kernels that ran, XNNPACK's or reference ones, must give to the
    byte and do not.

    \b
    Example:
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out report/
      qlvit-edge validate blood-nano --out report/ --min-accuracy 90 --max-latency 50
      qlvit-edge validate blood-nano --data other-lab/ --map "Segmented=neutrophil" \\
          --unknown-classes --out report/
    """
    from qlvit_edge.bundled import is_bundled, resolve_model
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.evaluation import class_match, image_set, validation
    from qlvit_edge.evaluation.measured_model import open_model
    from qlvit_edge.evaluation.validation_text import Request, compose
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.inference.interpreter import Kernels

    if data is None and not is_bundled(model):
        raise DataError(model, "no images to measure it on", "give a folder with --data")
    require_one_grouping(groups, expression)
    said = {} if class_map is None else class_match.read_class_map(class_map)
    opened = open_model(resolve_model(model_path(model)))
    images = image_set.gather(
        opened,
        data,
        split_file,
        class_map={**said, **class_match.parse_pairs(pairs)},
        allow_unknown=unknown_classes,
        groups=groups,
        groups_from_name=expression,
        strangers=strangers,
    )
    ensure_writable(out)
    with progress_bar("validating", len(images.known) + len(images.unknown)) as advance:
        found, answers = validation.validate(
            opened,
            images,
            kernels=Kernels(kernels),
            runtime=cast("Runtime", runtime),
            views=_views(find_cells, one_view),
            accept_at=accept_at,
            advance=advance,
            allowance=allowance,
        )
    request = Request(
        least_accuracy=None if min_accuracy is None else min_accuracy / 100,
        most_ms=max_latency,
        date=_now(),
        command=_command_line(),
    )
    report = compose(opened, images, found, answers, request)
    _publish(report, answers, out, as_json=as_json)
    _say_next(
        report.verdict.outcome,
        model,
        images.split is None and found.data.training_images != 0,
        out,
        as_json=as_json,
    )
    if report.verdict.failures:
        reasons = " and ".join(report.verdict.failures)
        raise GateError(opened.path, reasons, f"see {out / 'index.html'}")


def _publish(report: ValidationReport, answers: list[Answers], out: Path, *, as_json: bool) -> None:
    """Write both files, and print one of them in words."""
    from qlvit_edge.evaluation.validation_page import render
    from qlvit_edge.evaluation.validation_text import lines
    from qlvit_edge.files import json_text, write_json, write_text

    html = render(report, answers)
    write_json(out / "report.json", report.as_dict())
    write_text(out / "index.html", html)
    if as_json:
        click.echo(json_text(report.as_dict()))
        return
    for line in [*lines(report), f"report: {out / 'index.html'}"]:
        click.echo(line)


def _say_next(outcome: str, model: str, needs_split: bool, out: Path, *, as_json: bool) -> None:
    if outcome == "failed":
        next_step(f"look at what failed in {shell_word(out / 'index.html')}", as_json=as_json)
    elif outcome == "reduced proof" and needs_split:
        next_step(
            "give --split with the split that the model was trained with, for its whole test side",
            as_json=as_json,
        )
    else:
        next_step(
            f"qlvit-edge run {shell_word(model)} --camera SOURCE --out results.sqlite",
            as_json=as_json,
        )


def _views(find_cells: bool, one_view: bool) -> list[View]:
    """What is judged, and what is shown besides."""
    from qlvit_edge.evaluation.answers import View

    views = [View.CROPS, View.WHOLE] if find_cells else [View.WHOLE, View.CROPS]
    return views[:1] if one_view else views


def _now() -> str:
    from datetime import datetime

    return datetime.now().astimezone().isoformat(timespec="seconds")


def _command_line() -> str:
    """The command as it was typed, quoted for a shell."""
    import shlex

    arguments = click.get_current_context().find_root().obj or ()
    return shlex.join(["qlvit-edge", *arguments])
