"""`qlvit-edge calibrate`: a trained run and representative images in, ranges out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import white_level_of, white_level_option

if TYPE_CHECKING:
    from qlvit_edge.calibration.compare import Comparison
    from qlvit_edge.calibration.file import Calibration


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
    help="Another split whose test images are refused; the run's own always are.",
)
@click.option("--images", "count", type=click.IntRange(2), default=256, show_default=True)
@click.option(
    "--observer",
    type=click.Choice(["minmax", "percentile", "mse", "entropy", "moving"]),
    default="mse",
    show_default=True,
    help="Whose range is used; all are recorded.",
)
@click.option(
    "--compare",
    "comparing",
    is_flag=True,
    help="Measure every observer instead; calibration.json stays as it is.",
)
@click.option(
    "--judge-images",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="With --compare: labelled images, neither calibration nor test images, for accuracy.",
)
@click.option("--json", "as_json", is_flag=True, help="With --compare: print JSON.")
@white_level_option
def command(
    run: str,
    data: Path | None,
    split_path: Path | None,
    count: int,
    observer: str,
    comparing: bool,
    judge_images: int,
    as_json: bool,
) -> None:
    """Find the integer range of every tensor of the trained network in RUN.

    Writes calibration.json and calibration.png into RUN: ranges, hashes of the images used,
    and the error of the integer network against the float one, tensor by tensor. With
    --compare: tries every observer, prints what each costs, writes calibration_compare.png.

    \b
    Example:
      qlvit-edge calibrate runs/wbc --data cells/ --images 256
      qlvit-edge calibrate runs/wbc --compare
    """
    require("convert", "torch", "safetensors", "matplotlib")
    from typing import cast

    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.collect import calibrate, observe
    from qlvit_edge.calibration.compare import compare
    from qlvit_edge.calibration.evaluation_images import evaluation_images
    from qlvit_edge.calibration.images import choose_images, files_elsewhere
    from qlvit_edge.calibration.observers import ObserverName
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.evaluation import plots
    from qlvit_edge.files import ensure_writable, write_text
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, load_checkpoint

    if as_json and not comparing:
        raise click.UsageError("--json belongs to --compare")
    if is_bundled(run):
        raise CheckpointError(
            run, "is bundled and stays as it is", "calibrate a copy of its folder"
        )
    folder = resolve_run(run)
    checkpoint = load_checkpoint(folder)
    white_level_of(checkpoint.run)
    splits = [load_split(folder / SPLIT_FILE)]
    recorded = Path(checkpoint.run.data)
    elsewhere = files_elsewhere(data, recorded, splits[0])
    if split_path is not None:
        splits.append(load_split(split_path))
    scanned = scan(data or recorded)
    images, refused = choose_images(scanned, splits, count, elsewhere)
    if refused and not as_json:
        click.echo(f"{refused} test images (or of uncertain source) left out of calibration")
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
        return
    with progress_bar("calibrating", len(images)) as advance:
        calibration = calibrate(checkpoint, images, cast("ObserverName", observer), advance)
    errors = calibration.errors()
    plots.plot_layer_error(list(errors), list(errors.values()), folder / "calibration.png")
    write_text(folder / CALIBRATION_FILE, calibration.model_dump_json(indent=1) + "\n")
    _print_calibration(calibration, errors)
    click.echo(f"wrote {folder / CALIBRATION_FILE}")


def _print_calibration(calibration: Calibration, errors: dict[str, float]) -> None:
    from qlvit_edge.preprocess import note_on

    worst = min(errors, key=lambda name: errors[name])
    click.echo(
        f"{len(calibration.tensors)} tensors, {len(calibration.images)} images, range by "
        f"{calibration.observer}; "
        f"lowest signal to noise {errors[worst]:.1f} dB at {worst}; "
        f"top-1 agreement {calibration.agreement:.1%} on the images held for measuring error"
    )
    if calibration.unusual:
        click.echo(note_on(calibration.unusual))


def _print_comparison(found: Comparison, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        click.echo(json.dumps({**asdict(found), "best": found.best.observer}, indent=1))
        return
    from rich.table import Table

    from qlvit_edge.cli.console import table_console

    table = Table(title=f"Observers on {found.images} images: {found.origin}")
    table.add_column("observer")
    for column in ("accuracy", "same class", "mean SQNR", "worst"):
        table.add_column(column, justify="right")
    table.add_column("at")
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
