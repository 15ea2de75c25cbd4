"""`qlvit-edge calibrate`: a trained run and representative images in, ranges out."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.cli.extras import require


@click.command("calibrate")
@click.argument("run")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images, one folder a class  [default: what the run was trained on]",
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
    default="minmax",
    show_default=True,
    help="Whose range is used; all are recorded.",
)
def command(
    run: str, data: Path | None, split_path: Path | None, count: int, observer: str
) -> None:
    """Find the integer range of every tensor of the trained network in RUN.

    Writes calibration.json and calibration.png into RUN: ranges, hashes of the images used,
    and the error of the integer network against the float one, tensor by tensor.

    \b
    Example:
      qlvit-edge calibrate runs/wbc --data cells/ --images 256
    """
    require("convert", "torch", "safetensors", "matplotlib")
    from typing import cast

    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.collect import calibrate
    from qlvit_edge.calibration.images import choose_images
    from qlvit_edge.calibration.observers import ObserverName
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.checks import note_on
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.evaluation import plots
    from qlvit_edge.files import ensure_writable, write_text
    from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, load_checkpoint

    if is_bundled(run):
        raise CheckpointError(
            run, "is bundled and stays as it is", "calibrate a copy of its folder"
        )
    folder = resolve_run(run)
    checkpoint = load_checkpoint(folder)
    splits = [load_split(folder / SPLIT_FILE)]
    recorded = Path(checkpoint.run.data)
    elsewhere = []  # test images outside the folder that calibrates
    if data is not None:
        elsewhere = [recorded / name for name in splits[0].test if (recorded / name).is_file()]
    if split_path is not None:
        splits.append(load_split(split_path))
    images, refused = choose_images(scan(data or recorded), splits, count, elsewhere)
    if refused:
        click.echo(f"{refused} test images (or of uncertain source) refused for calibration")
    ensure_writable(folder)
    with progress_bar("calibrating", len(images)) as advance:
        calibration = calibrate(checkpoint, images, cast("ObserverName", observer), advance)
    errors = {
        name: tensor.sqnr_db
        for name, tensor in calibration.tensors.items()
        if tensor.sqnr_db is not None
    }
    plots.plot_layer_error(list(errors), list(errors.values()), folder / "calibration.png")
    write_text(folder / CALIBRATION_FILE, calibration.model_dump_json(indent=1) + "\n")
    worst = min(errors, key=lambda name: errors[name])
    click.echo(
        f"{len(calibration.tensors)} tensors, {len(images)} images, range by {observer}; "
        f"lowest signal to noise {errors[worst]:.1f} dB at {worst}; "
        f"top-1 agreement {calibration.agreement:.1%} on the error images"
    )
    if calibration.unusual:
        click.echo(note_on(calibration.unusual))
    click.echo(f"wrote {folder / CALIBRATION_FILE}")
