"""`qlvit-edge validate`: measure a model file's accuracy and speed on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import runtime_options
from qlvit_edge.errors import DataError, GateError

if TYPE_CHECKING:
    from qlvit_edge.data.folder import ImageFolder, LabelledImage
    from qlvit_edge.data.split import Split
    from qlvit_edge.evaluation.validation import Answer, Model
    from qlvit_edge.runtime.interpreter import Runtime


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
    Exit code 1: the accuracy is below the gate, or reference kernels do not give the golden
    pairs that the file holds.

    \b
    Example:
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out report/
      qlvit-edge validate wbc-nano --out report/ --min-accuracy 90
    """
    require("validate", "matplotlib")
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.checks import note_on
    from qlvit_edge.evaluation import validation
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.runtime.interpreter import Kernels

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
        figures, answers = validation.validate(
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
    if figures["kernels"]["xnnpack_missing"]:
        notes.append("XNNPACK took no operator: inference is slower than this device allows.")
    if figures["data"]["unusual"]:
        note = note_on(figures["data"]["unusual"]).removeprefix("note: ")
        notes.append(f"{note[0].upper()}{note[1:]}.")
    figures["data"]["split_of_training"] = same_split
    figures["notes"] = notes
    figures["gate"] = _gate(min_accuracy, figures["accuracy"])
    _write(out, figures, answers, find_cells)
    if as_json:
        click.echo((out / "report.json").read_text(encoding="utf-8"), nl=False)
    else:
        _print(figures, out)
    failures = _failures(figures)
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


def _gate(least: float | None, accuracy: float) -> dict[str, Any] | None:
    if least is None:
        return None
    return {"least": least / 100, "passed": accuracy >= least / 100}


def _failures(figures: dict[str, Any]) -> list[str]:
    """Return the checks that did not pass, in words."""
    gate, golden = figures["gate"], figures["golden"]
    failures = []
    if gate is not None and not gate["passed"]:
        accuracy = figures["accuracy"]
        failures.append(f"accuracy {accuracy:.2%} is below the gate of {gate['least']:.2%}")
    if golden["passed"] is False:
        failures.append(
            f"reference kernels give {golden['equal']} of {golden['compared']} golden pairs only"
        )
    return failures


def _write(out: Path, figures: dict[str, Any], answers: list[Answer], find: bool) -> None:
    from qlvit_edge.evaluation import validation_page
    from qlvit_edge.files import write_json, write_text

    classes = list(figures["classes"])
    figures["mistakes"] = [
        {
            "image": answer.image.relative,
            "true": classes[answer.image.label],
            "predicted": None if answer.predicted is None else classes[answer.predicted],
            "probability": max(answer.probabilities),
        }
        for answer in validation_page.wrong_answers(answers)
    ]
    html = validation_page.render(figures, answers, find=find)
    write_json(out / "report.json", figures)
    write_text(out / "index.html", html)


def _print(figures: dict[str, Any], out: Path) -> None:
    from qlvit_edge.evaluation.validation import RESEARCH_ONLY
    from qlvit_edge.evaluation.validation_page import golden_sentence, percent, unknown_cells

    data, macro, latency = figures["data"], figures["macro"], figures["latency_ms"]
    low, high = figures["accuracy_interval_95"]
    lines = [f"note: {note}" for note in figures["notes"]]
    lines += [
        f"accuracy   {percent(figures['accuracy'])} of {data['images']} images "
        f"({data['input']}; 95 % between {percent(low, 1)} and {percent(high, 1)})",
        f"macro      recall {percent(macro['recall'])} "
        f"({' … '.join(percent(end, 1) for end in macro['recall_interval_95'])}), "
        f"precision {percent(macro['precision'])}, "
        f"F1 {percent(macro['f1'])}",
    ]
    lines += [
        f"           {name}: recall {percent(scores['recall'])} of {scores['images']}"
        for name, scores in figures["classes"].items()
    ]
    if data["without_cell"]:
        lines.append(f"no cell    found in {data['without_cell']} images: counted as wrong")
    lines.append(f"golden     {golden_sentence(figures['golden'])}")
    if latency is not None:
        times = ", ".join(f"{name} {latency[name]:.2f} ms" for name in ("p50", "p90", "p99"))
        lines.append(f"latency    {times}")
    lines += [
        f"memory     {figures['memory_bytes']['peak'] / 2**20:.0f} MiB at most",
        f"kernels    {figures['kernels']['used']} of {figures['kernels']['runtime']}",
        f"{RESEARCH_ONLY} {unknown_cells(figures['model'])}",
        f"report: {out / 'index.html'}",
    ]
    for line in lines:
        click.echo(line)
