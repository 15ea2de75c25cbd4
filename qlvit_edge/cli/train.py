"""`qlvit-edge train`: labelled images and a split in, a run folder out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.choices import SIZE_NAMES
from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.drawing_options import drawing_options, drawing_settings
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.network_options import network_options
from qlvit_edge.cli.options import Number, Whole, device_option, white_level_option
from qlvit_edge.cli.quantise_option import (
    quantise_option,
    require_data_and_split,
    train_quantised,
)
from qlvit_edge.cli.start_option import from_option, network_for, starting_run
from qlvit_edge.cli.step_options import step_options, step_settings
from qlvit_edge.cli.train_processes import (
    going_on,
    joined_processes,
    own_device,
    require_one_process,
)
from qlvit_edge.model.family import SOFTMAXES
from qlvit_edge.text import counted

if TYPE_CHECKING:
    import torch

    from qlvit_edge.data.folder import ImageFolder
    from qlvit_edge.data.split import Split
    from qlvit_edge.training.checkpoint import Checkpoint, RunConfig
    from qlvit_edge.training.workers import Workers

DEFAULT_EPOCHS = 24


def _parse_names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    """Names, separated by commas."""
    names = list(dict.fromkeys(filter(None, (part.strip() for part in value.split(",")))))
    return [_line(ctx, param, name) or "" for name in names]


def _line(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A line of text that travels in every file made of the run; None if it was not said."""
    if value is None:
        return None
    text = " ".join(value.split())
    if not text or not text.isprintable() or len(text) > 200:
        raise click.BadParameter("is not a line of 1 to 200 printable characters", ctx, param)
    return text


@click.command("train")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images, one folder per class, or a manifest that `data merge` wrote  "
    "[required; with --quantise: what RUN was trained on]",
)
@click.option(
    "--split",
    "split_path",
    type=click.Path(path_type=Path),
    help="Split file that `data split` wrote  [required; with --quantise: that of RUN]",
)
@click.option(
    "--model",
    "size",
    metavar="SIZE",
    default=SIZE_NAMES[0],
    show_default=True,
    help=f"Size of the network: {', '.join(SIZE_NAMES)}, or a TOML file with a size of your own.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Run folder to write.",
)
@click.option(
    "--epochs",
    type=Whole(1),
    help="Epochs in all; with --resume, more than the run has extend it by another cycle of the "
    "learning rate, from half of --rate to zero  [default: 24; with --resume, as the run has]",
)
@click.option(
    "--batch",
    type=Whole(2),
    metavar="N",
    default=64,
    show_default=True,
    help="Images in one step of training.",
)
@click.option(
    "--rate", type=Number(0, min_open=True), default=2e-3, show_default=True,
    help="Peak learning rate.",
)  # fmt: skip
@from_option
@quantise_option
@network_options
@click.option(
    "--softmax",
    type=click.Choice(SOFTMAXES),
    help="Softmax in the forward pass: the 4-bit codes that the device computes, or float  "
    "[default: the variant's: log2 from v1 on, float before]",
)
@click.option(
    "--validation",
    type=Number(0, 0.5),
    default=0.1,
    show_default=True,
    help="Share of the training images (in a source-disjoint split: of whole sources) held out "
    "to choose the best epoch (0: the last one).",
)
@click.option(
    "--patience",
    type=Whole(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Stop after N epochs without a better validation figure (0: never).",
)
@drawing_options
@step_options
@click.option(
    "--settle",
    type=Number(0, 1),
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
    help="Kinds of cells that no class stands for, separated by commas: `run`, `inspect` and "
    "`validate` name them as unknown to every file made of the run. None may be a class.",
)
@click.option(
    "--stain",
    callback=_line,
    metavar="TEXT",
    help="Stain of the slides; recorded in every file made of the run.",
)
@click.option(
    "--camera", callback=_line, metavar="TEXT", help="Camera of the images; also recorded."
)
@click.option(
    "--objective",
    callback=_line,
    metavar="TEXT",
    help="Objective of the microscope; also recorded.",
)
@white_level_option
@click.option(
    "--seed",
    type=Whole(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Number of the draw of weights, order and changes: the same one trains the same network.",
)
@click.option("--resume", is_flag=True, help="Continue the run that OUT holds, or extend it.")
@click.option("--tensorboard", is_flag=True, help="Also write event files, to OUT/tensorboard.")
@device_option
def command(**options: Any) -> None:
    """Train a network, from scratch or from the weights of another run.

    The test side of the split is used once, at the end. The run can be stopped at any
    moment and continued with --resume and the same options. For research use only.

    \b
    Example:
      qlvit-edge train --data cells/ --split split.json --model nano --out runs/wbc
      qlvit-edge train ... --unknown-cells "basophils,blasts" --stain "May-Grünwald-Giemsa"
      qlvit-edge train ... --resume --epochs 40
      qlvit-edge train ... --from runs/wbc --rate 0.0005 --epochs 8
      qlvit-edge train --quantise --from runs/wbc --out runs/wbc-int8
      torchrun --nproc-per-node 2 -m qlvit_edge train ...
    """
    require("train", "torch", "safetensors", "matplotlib")
    if options["quantise"] is not None:
        require_one_process("--quantise")
        train_quantised(options)
        return
    require_data_and_split(options)
    if options["tensorboard"]:
        require("tensorboard", "tensorboard")
    if options["patience"] and not options["validation"]:
        raise click.UsageError("--patience needs validation images: --validation above 0")
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split

    if options["compiled"]:
        require_one_process("--compile")
    device = own_device(options["device"])
    out: Path = options["out"]
    with joined_processes(device, options["batch"], lambda: going_on(out)) as workers:
        start = starting_run(options["from_run"])
        folder = scan(options["data"])
        split = load_split(options["split_path"])
        run = _run_config(folder, split, start, options)
        # Refused before anything is written.
        workers.from_leader(lambda: _continued(run, out, options))
        with _held(out) if workers.leads else nullcontext():
            run = workers.from_leader(lambda: _continued(run, out, options))
            _train(run, folder, split, device, start, workers, options)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Make the run folder and keep others out of it; it goes if nothing was written."""
    from qlvit_edge.files import ensure_writable, exclusive

    is_new = not out.exists()
    ensure_writable(out)
    try:
        with exclusive(out):
            yield
    finally:
        if is_new:
            with suppress(OSError):
                out.rmdir()  # nothing was written: it is empty


def _run_config(
    folder: ImageFolder, split: Split, start: Checkpoint | None, options: Mapping[str, Any]
) -> RunConfig:
    """What a run with these options is, if it is a new one."""
    from qlvit_edge.preprocess import white_level
    from qlvit_edge.training.checkpoint import HOLD_OUT_DRAW, RunConfig
    from qlvit_edge.training.settings import TrainingSettings
    from qlvit_edge.training.start import started_from

    for name in options["unknown_cells"]:
        if name.casefold() in (known.casefold() for known in folder.classes):
            raise click.UsageError(f"--unknown-cells: {name!r} is a class of {folder.root}")
    validation = options["validation"]
    return RunConfig(
        network=network_for(len(folder.classes), start, options),
        classes=list(folder.classes),
        data=str(folder.root.resolve()),
        split_fingerprint=split.fingerprint,
        training=TrainingSettings(
            epochs=options["epochs"] or DEFAULT_EPOCHS,
            weight_decay=0.05,
            peak_rate=options["rate"],
            hold_out_draw=HOLD_OUT_DRAW if validation else None,
            validation=validation,
            **drawing_settings(folder, options),
            **step_settings(options),
            **{name: options[name] for name in ("batch", "seed", "settle", "patience")},
        ),
        white_level=white_level(),
        started_from=None if start is None else started_from(start),
        **{name: options[name] for name in ("unknown_cells", "stain", "camera", "objective")},
    )


def _continued(run: RunConfig, out: Path, options: Mapping[str, Any]) -> RunConfig:
    """Return the run as it goes on in its folder; a new one as it is."""
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.training.checkpoint import BEST_FILE, LAST_FILE, RUN_FILE
    from qlvit_edge.training.session import continued

    if not (out / RUN_FILE).exists():
        return run
    if options["resume"]:
        return continued(run, out, options["epochs"])
    if (out / LAST_FILE).exists():
        raise CheckpointError(
            out, "already holds a run", "add --resume to continue it, or choose another --out"
        )
    if (out / BEST_FILE).exists():  # `adapt` leaves such a one, and there is no going on with it
        raise CheckpointError(out, "already holds a run", "choose another --out")
    return run


def _train(
    run: RunConfig,
    folder: ImageFolder,
    split: Split,
    device: torch.device,
    start: Checkpoint | None,
    workers: Workers,
    options: Mapping[str, Any],
) -> None:
    """Train, show it, and say what came of it."""
    from qlvit_edge.cli.train_display import display
    from qlvit_edge.training.session import run_training

    out: Path = options["out"]
    resume, tensorboard = options["resume"], options["tensorboard"]
    with display() as listener:
        found = run_training(
            *(run, out, folder, split, device, resume, listener),
            tensorboard=tensorboard,
            start=start,
            cache=options["cache"],
            workers=workers,
        )
    if found.validation is not None:
        early = f", stopped early of {run.training.epochs}"
        click.echo(
            f"best epoch {found.best_epoch} of {found.epochs}"
            f"{early if found.epochs < run.training.epochs else ''}: "
            f"validation {found.validation:.1%}"
        )
    click.echo(
        f"test accuracy {found.whole_image:.2%} (whole images), {found.cell_crop:.2%} (cell crops) "
        f"on {counted(found.test_images, 'image')}; run folder: {out}"
    )
    next_step(f"qlvit-edge calibrate {shell_word(out)}", "find the ranges of its integers")
