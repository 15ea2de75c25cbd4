"""`qlvit-edge validate`: measure a model file's accuracy and speed on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import runtime_options, white_level_option
from qlvit_edge.errors import DataError, GateError

if TYPE_CHECKING:
    from qlvit_edge.data.folder import ImageFolder, LabelledImage
    from qlvit_edge.data.split import Split
    from qlvit_edge.evaluation.validation import Model
    from qlvit_edge.evaluation.validation_report import Gate, ValidationReport
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
@runtime_options
@white_level_option
@click.option(
    "--find-cells",
    is_flag=True,
    help="Classify the crop around the found cell, as `run` does, instead of the whole image.",
)
@click.option(
    "--min-accuracy",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="End with exit code 1 when the accuracy is below this, in percent (0 to 100).",
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json too.")
def command(
    model: str,
    data: Path | None,
    split_file: Path | None,
    out: Path,
    kernels: str,
    runtime: str,
    find_cells: bool,
    min_accuracy: float | None,
    as_json: bool,
) -> None:
    """Measure MODEL on labelled images: accuracy, golden pairs, latency, memory.

    MODEL is a .tflite file, integer or float, a chain, or the name of a bundled model. The report
    (report.json and a self-contained index.html) is written whether or not the checks pass.
    Exit code 1: the accuracy is below the gate, or the kernels that ran, XNNPACK's or reference
    ones, do not give every golden pair that the file holds for them, to the byte.

    \b
    Example:
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out report/
      qlvit-edge validate wbc-nano --out report/ --min-accuracy 90
    """
    require("validate", "matplotlib")
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.evaluation import validation, validation_page
    from qlvit_edge.evaluation.validation_report import ValidationReport
    from qlvit_edge.files import ensure_writable, write_json, write_text
    from qlvit_edge.inference.interpreter import Kernels
    from qlvit_edge.preprocess import note_on

    opened = validation.open_model(resolve_model(model))
    folder, images, split, notes = _images(model, data, split_file)
    same_split = _same_split(opened, split)
    notes = _model_notes(opened) + notes
    if same_split is False:
        notes.append(
            "This is another split than the model was trained with: its test images may have "
            "been training images, which makes the accuracy look better than it is."
        )
    order = validation.class_order(opened, folder)
    ensure_writable(out)
    with progress_bar("validating", len(images)) as advance:
        found, answers = validation.validate(
            opened,
            folder,
            images,
            order=order,
            kernels=Kernels(kernels),
            runtime=cast("Runtime", runtime),
            find=find_cells,
            groups={} if split is None else split.groups,
            advance=advance,
        )
    if found.kernels.xnnpack_missing:
        notes.append("XNNPACK took no operator: inference is slower than this device allows.")
    if found.data.unusual:
        note = note_on(found.data.unusual).removeprefix("note: ")
        notes.append(f"{note[0].upper()}{note[1:]}.")
    report = ValidationReport(
        found=found,
        split_of_training=same_split,
        notes=tuple(notes),
        gate=_gate(min_accuracy, found.quality.accuracy),
        mistakes=tuple(validation_page.mistakes(answers, folder.classes)),
    )
    html = validation_page.render(report, answers, find=find_cells)
    write_json(out / "report.json", report.as_dict())
    write_text(out / "index.html", html)
    if as_json:
        click.echo((out / "report.json").read_text(encoding="utf-8"), nl=False)
    else:
        _print(report, out)
    failures = _failures(report)
    if failures:
        raise GateError(opened.path, " and ".join(failures), f"see {out / 'index.html'}")


def _images(
    model: str, data: Path | None, split_file: Path | None
) -> tuple[ImageFolder, list[LabelledImage], Split | None, list[str]]:
    """Return folder, chosen images, the split and what has to be said about them."""
    from qlvit_edge import bundled
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split, require_fit, select

    if data is None and not bundled.is_bundled(model):
        raise DataError(model, "no images to measure it on", "give a folder with --data")
    folder = scan(bundled.CROPS if data is None else data)
    if split_file is not None:
        split = load_split(split_file)
        require_fit(split, folder)
        return folder, select(folder, split.test), split, []
    notes = []
    if folder.root.resolve() == bundled.CROPS.resolve():
        notes.append(
            f"Reduced proof: measured on the {len(folder.images)} bundled crops only, too few "
            "for a figure of accuracy. Give a data set with --data."
        )
    else:
        notes.append(
            "Measured on every image of the folder (no --split): images that the model was "
            "trained on make the accuracy look better than it is."
        )
    return folder, list(folder.images), None, notes


def _same_split(model: Model, split: Split | None) -> bool | None:
    """Tell whether the model was trained with this split; None where that is not known."""
    if split is None or model.metadata is None or model.metadata.split_fingerprint is None:
        return None
    return split.fingerprint == model.metadata.split_fingerprint


def _model_notes(model: Model) -> list[str]:
    notes = []
    if not model.audit.passed:
        verdict = model.audit.verdict
        notes.append(f"{verdict[0].upper()}{verdict[1:]}.")
    if model.metadata is None:
        notes.append(
            "The file has no metadata of qlvit-edge: class folders in alphabetical order are "
            "taken for its outputs, and pixels of 0 to 255 for its input."
        )
    if model.gives_probabilities:
        notes.append(
            "The file ends in a softmax: its outputs are taken for probabilities as they are."
        )
    return notes


def _gate(least: float | None, accuracy: float) -> Gate | None:
    from qlvit_edge.evaluation.validation_report import Gate

    if least is None:
        return None
    return Gate(least / 100, accuracy >= least / 100)


def _failures(report: ValidationReport) -> list[str]:
    """Return the checks that did not pass, in words."""
    gate, golden = report.gate, report.found.golden
    failures = []
    if gate is not None and not gate.passed:
        accuracy = report.found.quality.accuracy
        failures.append(f"accuracy {accuracy:.2%} is below the gate of {gate.least:.2%}")
    if golden.failure is not None:
        failures.append(golden.failure)
    return failures


def _print(report: ValidationReport, out: Path) -> None:
    from qlvit_edge.evaluation.validation import RESEARCH_ONLY
    from qlvit_edge.evaluation.validation_page import percent, unknown_cells

    found = report.found
    data, quality, latency = found.data, found.quality, found.latency_ms
    macro = quality.macro
    low, high = quality.accuracy_interval_95
    lines = [f"note: {note}" for note in report.notes]
    lines += [
        f"accuracy   {percent(quality.accuracy)} of {data.images} images "
        f"({data.input}; 95 % between {percent(low, 1)} and {percent(high, 1)})",
        f"macro      recall {percent(macro.recall)} "
        f"({' … '.join(percent(end, 1) for end in macro.recall_interval_95)}), "
        f"precision {percent(macro.precision)}, "
        f"F1 {percent(macro.f1)}",
    ]
    lines += [
        f"           {name}: recall {percent(own.recall)} of {own.images}"
        for name, own in quality.classes.items()
    ]
    if data.without_cell:
        lines.append(f"no cell    found in {data.without_cell} images: counted as wrong")
    lines.append(f"golden     {found.golden.sentence}")
    if latency is not None:
        times = ", ".join(f"{name} {latency[name]:.2f} ms" for name in ("p50", "p90", "p99"))
        lines.append(f"latency    {times}")
    lines += [
        f"memory     {found.memory_bytes.peak / 2**20:.0f} MiB at most",
        f"kernels    {found.kernels.used} of {found.kernels.runtime}",
        f"arithmetic {found.kernels.arithmetic}",
        f"{RESEARCH_ONLY} {unknown_cells(found.model)}",
        f"report: {out / 'index.html'}",
    ]
    for line in lines:
        click.echo(line)
