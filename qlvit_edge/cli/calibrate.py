"""`qlvit-edge calibrate`: a trained run and representative images in, ranges out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.choices import DEFAULT_OBSERVER, OBSERVERS
from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Number, Whole, white_level_of, white_level_option
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.calibration.compare import Comparison
    from qlvit_edge.calibration.file import Calibration
    from qlvit_edge.data.folder import ImageFolder
    from qlvit_edge.data.split import Split
    from qlvit_edge.training.checkpoint import Checkpoint


@click.command("calibrate")
@click.argument("run")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images, one folder per class  [default: what the run was trained on]",
)
@click.option(
    "--split",
    "split_path",
    type=click.Path(path_type=Path),
    help="Another split whose test images are left out; those of the run's own always are.",
)
@click.option(
    "--images",
    "count",
    type=Whole(2),
    metavar="N",
    default=256,
    show_default=True,
    help="Images that the ranges are found on.",
)
@click.option(
    "--reject",
    type=Number(min=0.001, max=0.5),
    default=0.05,
    show_default=True,
    help="Share of held-out known cells that the guard may reject.",
)
@click.option(
    "--guard-images",
    type=Whole(0),
    metavar="N",
    default=1600,
    show_default=True,
    help="Images of training, and as many held-out ones at most, that the guard is fitted on; "
    "0: no guard.",
)
@click.option(
    "--observer",
    type=click.Choice(OBSERVERS),
    default=DEFAULT_OBSERVER,
    show_default=True,
    help="The observer whose ranges are used; those of all are recorded.",
)
@click.option(
    "--compare",
    "comparing",
    is_flag=True,
    help="Measure every observer instead, and leave calibration.json as it is.",
)
@click.option(
    "--judge-images",
    type=Whole(1),
    metavar="N",
    default=1000,
    show_default=True,
    help="With --compare: labelled images for accuracy, none of them calibrated or tested on.",
)
@click.option("--json", "as_json", is_flag=True, help="With --compare: print JSON.")
@white_level_option
def command(
    run: str,
    data: Path | None,
    split_path: Path | None,
    count: int,
    reject: float,
    guard_images: int,
    observer: str,
    comparing: bool,
    judge_images: int,
    as_json: bool,
) -> None:
    """Find the integer range of every tensor of the trained network in RUN.

    RUN is a folder that `train` wrote. Images of its test side are never used. Written into RUN:
    calibration.json (ranges, hashes of the images, and how far the integer network is from the
    float one, tensor by tensor), calibration.png, and guard.json: what the file will judge its
    answers by, fitted on images of training and on those that training held out. With --compare
    every observer is tried, what each costs is printed, and calibration_compare.png is written
    instead.

    \b
    Example:
      qlvit-edge calibrate runs/wbc --data cells/ --images 256
      qlvit-edge calibrate runs/wbc --compare
    """
    require("convert", "torch", "safetensors", "matplotlib")
    from typing import cast

    from qlvit_edge.bundled import is_named, resolve_run
    from qlvit_edge.calibration.collect import calibrate, observe
    from qlvit_edge.calibration.compare import compare
    from qlvit_edge.calibration.evaluation_images import evaluation_images
    from qlvit_edge.calibration.images import choose_images, files_elsewhere
    from qlvit_edge.choices import ObserverName
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.evaluation import plots
    from qlvit_edge.files import ensure_writable, write_text
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, load_checkpoint
    from qlvit_edge.training.places import data_folder

    if as_json and not comparing:
        raise click.UsageError("--json belongs to --compare")
    folder = resolve_run(run)
    if is_named(run):
        finding = "is a model that others use by its name and stays as it is"
        raise CheckpointError(run, finding, f"copy {folder} and calibrate the copy")
    checkpoint = load_checkpoint(folder)
    white_level_of(checkpoint.run)
    if data is None and checkpoint.run.adapted_from is not None:
        raise CheckpointError(
            run,
            "was fitted to another microscope than its data are from",
            "name a folder of that one's cells with --data",
        )
    if comparing and checkpoint.run.quantised is not None:
        raise CheckpointError(
            run, "was trained with its ranges", "compare observers on the run it was trained from"
        )
    splits = [load_split(folder / SPLIT_FILE)]
    recorded = Path(checkpoint.run.data)
    elsewhere = files_elsewhere(data, recorded, splits[0])
    if split_path is not None:
        splits.append(load_split(split_path))
    scanned = scan(data_folder(checkpoint.run, data))
    images, refused = choose_images(scanned, splits, count, elsewhere)
    if refused and not as_json:
        images_left = counted(refused, "image")
        click.echo(f"{images_left} of the test side, or of uncertain source, left out")
    ensure_writable(folder)
    if comparing:
        with progress_bar("calibrating", len(images)) as advance:
            observation = observe(checkpoint, images, advance)
        chosen = evaluation_images(
            checkpoint, scanned, splits, observation.calibration, judge_images, elsewhere
        )
        found = compare(checkpoint, observation, chosen, progress_bar)
        layers = {str(row.observer): row.sqnr_db for row in found.rows}
        plots.plot_layer_errors(layers, folder / "calibration_compare.png")
        _print_comparison(found, as_json)
        next_step(
            f"qlvit-edge calibrate {shell_word(run)} --observer {found.best.observer}",
            "use the best",
            as_json=as_json,
        )
        return
    with progress_bar("calibrating", len(images)) as advance:
        calibration = calibrate(checkpoint, images, cast("ObserverName", observer), advance)
    errors = calibration.errors()
    plots.plot_layer_error(list(errors), list(errors.values()), folder / "calibration.png")
    write_text(folder / CALIBRATION_FILE, calibration.model_dump_json(indent=1) + "\n")
    _print_calibration(calibration, errors, checkpoint.run.network.channels)
    click.echo(f"wrote {folder / CALIBRATION_FILE}")
    _fit_guard(checkpoint, calibration, scanned, splits[0], guard_images, reject)
    out = shell_word(f"{folder.resolve().name}.tflite")
    next_step(
        f"qlvit-edge convert {shell_word(run)} --out {out}",
        "make the integer file and prove it",
    )


def _fit_guard(
    checkpoint: Checkpoint,
    calibration: Calibration,
    folder: ImageFolder,
    split: Split,
    most: int,
    rate: float,
) -> None:
    """Fit the guard and print what it does, or say why there is none."""
    from qlvit_edge.calibration.degradations import DEGRADATIONS
    from qlvit_edge.calibration.guard import make_guard, remove_guard, too_few, write_guard
    from qlvit_edge.calibration.guard_images import GuardImages, guard_images
    from qlvit_edge.cli.guard_text import print_evidence
    from qlvit_edge.cli.progress import progress_bar

    chosen = GuardImages(missing="none was asked for")
    if most:
        chosen = guard_images(checkpoint.run, folder, split, most)
    missing = chosen.missing or too_few(chosen.held_out)
    if missing:
        remove_guard(checkpoint)
        click.echo(f"no guard: {missing}")
        return
    total = len(chosen.training) + len(chosen.held_out) + len(DEGRADATIONS)
    with progress_bar("fitting the guard", total) as advance:
        guard = make_guard(
            checkpoint, calibration, chosen.training, chosen.held_out, advance,
            data=folder.root.name, rate=rate,
        )  # fmt: skip
    path = write_guard(checkpoint, guard)
    print_evidence(guard)
    click.echo(f"wrote {path}")


def _print_calibration(calibration: Calibration, errors: dict[str, float], channels: int) -> None:
    from qlvit_edge.preprocess import note_on

    worst = min(errors, key=lambda name: errors[name])
    click.echo(
        f"{counted(len(calibration.tensors), 'tensor')}, "
        f"{counted(len(calibration.images), 'image')}, ranges by {calibration.observer}; "
        f"lowest signal to noise {errors[worst]:.1f} dB at {worst}; "
        f"top-1 agreement {calibration.agreement:.1%} on the images held for measuring error"
    )
    if calibration.unusual:
        click.echo(note_on(calibration.unusual, channels))


def _print_comparison(found: Comparison, as_json: bool) -> None:
    from dataclasses import asdict

    from qlvit_edge.files import json_text

    if as_json:
        click.echo(json_text({**asdict(found), "best": found.best.observer}))
        return
    table = plain_table(
        f"Observers on {counted(found.images, 'image')}: {found.origin}",
        *("observer", "accuracy>", "same class>", "mean SQNR>", "worst>", "at"),
    )
    table.add_row("float network", f"{found.float_accuracy:.2%}", "", "", "", "")
    for row in found.rows:
        table.add_row(
            row.observer,
            f"{row.accuracy:.2%}",
            f"{row.agreement:.2%}",
            f"{row.mean_sqnr_db:.1f} dB",
            f"{row.worst_sqnr_db:.1f} dB",
            row.worst_layer,
        )
    table_console().print(table)
    click.echo(f"best: {found.best.observer} (same class, then mean SQNR)")
