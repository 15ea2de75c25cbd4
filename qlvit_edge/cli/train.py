"""`qlvit-edge train`: labelled images and a split in, a run folder out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.choices import DEVICES
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.network_options import network_options
from qlvit_edge.cli.options import white_level_option
from qlvit_edge.model.family import SOFTMAXES

if TYPE_CHECKING:
    from qlvit_edge.training.checkpoint import RunConfig


def _parse_names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    """Names, separated by commas."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in value.split(",")))))


@click.command("train")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of images, one folder per class.",
)
@click.option(
    "--split",
    "split_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Split file that `data split` wrote.",
)
@click.option("--model", "size", default="nano", show_default=True, help="Network size.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Run folder to write.",
)
@click.option("--epochs", type=click.IntRange(1), default=24, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True,
    help="Peak learning rate.",
)  # fmt: skip
@network_options
@click.option(
    "--softmax",
    type=click.Choice(SOFTMAXES),
    default=SOFTMAXES[0],
    show_default=True,
    help="Softmax in the forward pass: the 4-bit codes that the device computes, or float.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="Share of the training images held out to choose the best epoch (0: the last one).",
)
@click.option(
    "--settle",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the epochs, at the end, in which colours are left as they are: better on "
    "images of the same microscope, worse on those of another.",
)
@click.option(
    "--unknown-cells",
    callback=_parse_names,
    metavar="LIST",
    default="",
    help="Kinds of cells that no class stands for, separated by commas; every file made of the "
    "run says so.",
)
@white_level_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Continue the run that OUT holds.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
)
def command(
    data: Path,
    split_path: Path,
    size: str,
    out: Path,
    epochs: int,
    batch: int,
    rate: float,
    member: dict[str, object],
    softmax: str,
    validation: float,
    settle: float,
    unknown_cells: list[str],
    seed: int,
    resume: bool,
    device: str,
) -> None:
    """Train a network from scratch.

    The test side of the split is used once, at the end. The run can be stopped at any
    moment and continued with --resume. For research use only.

    \b
    Example:
      qlvit-edge train --data cells/ --split split.json --model nano --out runs/wbc
      qlvit-edge train ... --unknown-cells "basophils,band cells,blasts"
    """
    require("train", "torch", "safetensors", "matplotlib")
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.files import ensure_writable, remove_leftovers
    from qlvit_edge.model.configs import size_config
    from qlvit_edge.preprocess import white_level
    from qlvit_edge.training.checkpoint import LAST_FILE, RUN_FILE, RunConfig, TrainingSettings
    from qlvit_edge.training.session import choose_device, run_training

    folder = scan(data)
    split = load_split(split_path)
    network = size_config(
        size,
        classes=len(folder.classes),
        softmax=softmax,
        **member,
    )
    run = RunConfig(
        network=network,
        classes=list(folder.classes),
        data=str(data.resolve()),
        split_fingerprint=split.fingerprint,
        training=TrainingSettings(
            epochs=epochs,
            batch=batch,
            peak_rate=rate,
            weight_decay=0.05,
            validation=validation,
            seed=seed,
            settle=settle,
        ),
        white_level=white_level(),
        unknown_cells=unknown_cells,
    )
    chosen_device = choose_device(device)
    if (out / RUN_FILE).exists() and (resume or (out / LAST_FILE).exists()):
        _check_same_run(out, run, resume)
    is_new = not out.exists()
    ensure_writable(out)
    remove_leftovers(out)
    try:
        run_training(run, out, folder, split, chosen_device, resume)
    finally:
        if is_new:
            with suppress(OSError):
                out.rmdir()  # nothing was written: it is empty


def _check_same_run(out: Path, run: RunConfig, resume: bool) -> None:
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.training.checkpoint import read_run_config

    if not resume:
        raise CheckpointError(
            out, "already holds a run", "add --resume to continue it, or choose another --out"
        )
    recorded = read_run_config(out)
    if recorded.model_copy(update={"golden_images": run.golden_images}) != run:
        raise CheckpointError(
            out,
            "holds a run with other data or options",
            "resume with the options of that run, or choose another --out",
        )
