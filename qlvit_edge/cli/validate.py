"""`qlvit-edge validate`: whether a model may be used on this device, measured there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.delegate_options import delegate_options
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
    from qlvit_edge.evaluation.measured_model import Model
    from qlvit_edge.evaluation.predictions import Predictions
    from qlvit_edge.evaluation.validation_report import ValidationReport
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.delegates import Delegate
    from qlvit_edge.inference.interpreter import Runtime


@click.command("validate")
@click.argument("models", metavar="MODEL", nargs=-1, required=True)
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
    help="Folder for report.json, predictions.json and index.html.",
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
@delegate_options("One that is lost ends the measurement.")
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
@click.option(
    "--compare",
    "recorded",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="predictions.json of another machine, such as the workstation: is every image answered "
    "as there, to the byte where both compute the same arithmetic?",
)
@click.option(
    "--merge",
    is_flag=True,
    help="Compare the report.json files of several devices, given in place of MODEL.",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json too.")
def command(
    models: tuple[str, ...],
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
    delegate: Delegate | None,
    find_cells: bool,
    one_view: bool,
    accept_at: float | None,
    min_accuracy: float | None,
    max_latency: float | None,
    recorded: Path | None,
    merge: bool,
    as_json: bool,
    allowance: Allowance,
) -> None:
    """Say whether MODEL may be used on this device, and why not: measured on labelled images.

    MODEL is a .tflite file, integer or float, a chain, the name of a bundled model, or `installed`,
    the model that is installed on this device. Folders are matched with its classes whatever their
    capitals, spaces and underscores. Examined are the golden pairs on the kernels that ran and on
    the reference ones, the answers of another machine (--compare), accuracy, images, latency, heat,
    throttling, and what other programs took. The
    verdict is "may be used", "may not be used", or, where a check warns or was not made, "may be
    used with reservations". index.html, report.json and predictions.json (for --compare on
    another machine) are written in every case.
    Exit code 1: it may not be used; with --merge: not on every device, or they differ where they
    must not.

    \b
    Example:
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out report/
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out here/ \\
          --compare report/predictions.json --min-accuracy 90 --max-latency 50
      qlvit-edge validate --merge pi4/report.json pi5/report.json --out devices/
      qlvit-edge validate blood-nano --data other-lab/ --map "Segmented=neutrophil" \\
          --unknown-classes --out report/
    """
    if merge:
        from qlvit_edge.cli.validate_merge import merge_reports

        merge_reports([Path(name) for name in models], out, as_json=as_json)
        return
    if len(models) > 1:
        raise click.UsageError("give one MODEL; several reports are compared with --merge")
    (model,) = models
    from qlvit_edge.bundled import is_bundled, resolve_model
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.evaluation import class_match, image_set, validation
    from qlvit_edge.evaluation.measured_model import open_model
    from qlvit_edge.evaluation.recording import hash_files, record
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
    hashes = hash_files(images)
    there = None if recorded is None else _comparable(recorded, opened, hashes, out)
    ensure_writable(out)
    with progress_bar("validating", len(images.known) + len(images.unknown)) as advance:
        found, answers = validation.validate(
            opened,
            images,
            kernels=Kernels(kernels),
            runtime=cast("Runtime", runtime),
            delegate=delegate,
            views=_views(find_cells, one_view),
            accept_at=accept_at,
            advance=advance,
            allowance=allowance,
        )
    report = compose(
        opened,
        images,
        found,
        answers,
        record(found, answers, images.match.labels, hashes, device=_device(), date=_now()),
        there,
        Request(
            least_accuracy=None if min_accuracy is None else min_accuracy / 100,
            most_ms=max_latency,
            command=_command_line(),
        ),
    )
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


def _comparable(path: Path, opened: Model, hashes: Mapping[str, str], out: Path) -> Predictions:
    """Read another machine's predictions, of the same model and images, if they outlive this."""
    from qlvit_edge.evaluation.predictions import FILE, read_predictions, require_comparable
    from qlvit_edge.files import sha256

    if path.resolve() == (out / FILE).resolve():
        raise DataError(path, "would be overwritten by this report", "name another folder as --out")
    found = read_predictions(path)
    require_comparable(found, sha256(opened.content), hashes, path)
    return found


def _publish(report: ValidationReport, answers: list[Answers], out: Path, *, as_json: bool) -> None:
    """Write the three files, and print one of them in words."""
    from qlvit_edge.evaluation.predictions import FILE, as_text
    from qlvit_edge.evaluation.validation_page import render
    from qlvit_edge.evaluation.validation_text import lines
    from qlvit_edge.files import json_text, write_json, write_text

    html = render(report, answers)
    write_text(out / FILE, as_text(report.predictions))
    write_json(out / "report.json", report.as_dict())
    write_text(out / "index.html", html)
    if as_json:
        click.echo(json_text(report.as_dict()))
        return
    for line in [*lines(report), f"report: {out / 'index.html'}"]:
        click.echo(line)


def _say_next(outcome: str, model: str, needs_split: bool, out: Path, *, as_json: bool) -> None:
    if outcome == "may not be used":
        next_step(f"look at what failed in {shell_word(out / 'index.html')}", as_json=as_json)
    elif outcome == "may be used with reservations" and needs_split:
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


def _device() -> str:
    """The name of this machine."""
    import platform

    return platform.node() or "unnamed"


def _now() -> str:
    from datetime import datetime

    return datetime.now().astimezone().isoformat(timespec="seconds")


def _command_line() -> str:
    """The command as it was typed, quoted for a shell."""
    import shlex

    arguments = click.get_current_context().find_root().obj or ()
    return shlex.join(["qlvit-edge", *arguments])
