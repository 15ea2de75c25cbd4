"""`train --quantise --from RUN`: a float run trained on as the integers it will be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from qlvit_edge.choices import INTEGER_SOFTMAXES
from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.quantised.outcome import Integers

DEFAULT_EPOCHS: Final = 3
DEFAULT_RATE: Final = 5e-5
DEFAULT_BATCH: Final = 32
_OWN: Final = frozenset(
    {"data", "split_path", "out", "epochs", "batch", "rate", "from_run", "quantise"}
    | {"images_per_epoch", "resume", "device", "seed"}
)

quantise_option = click.option(
    "--quantise",
    is_flag=False,
    flag_value=INTEGER_SOFTMAXES[0],
    type=click.Choice(INTEGER_SOFTMAXES),
    help="Train the calibrated run of --from on as the integers that it will be, with this form "
    f"of the softmax ({INTEGER_SOFTMAXES[0]} where none is named). What is not said is as in that "
    f"run, but for --epochs {DEFAULT_EPOCHS}, --rate {DEFAULT_RATE:g} and --batch {DEFAULT_BATCH}.",
)


def require_data_and_split(options: Mapping[str, Any]) -> None:
    """Refuse a training that does not say on what.

    Raises:
        click.UsageError: naming the missing option.
    """
    for name, option in (("data", "--data"), ("split_path", "--split")):
        if options[name] is None:
            raise click.UsageError(f"Missing option '{option}'.")


def _require_own_options() -> None:
    """Refuse options that a training as integers takes from the run it starts from."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name not in _OWN:
            raise click.UsageError(
                f"{parameter.opts[0]} is not chosen with --quantise, which takes it from the run "
                "or does without; leave it out"
            )


def train_quantised(options: Mapping[str, Any]) -> None:
    """Fine-tune, show it, and say what came of it.

    Raises:
        QLViTEdgeError: see `quantised_run` and `run_quantised`.
        click.UsageError: an option that does not go with --quantise, or no --from.
    """
    from qlvit_edge.bundled import resolve_run
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.cli.options import white_level_of
    from qlvit_edge.cli.train_display import display
    from qlvit_edge.data.folder import scan
    from qlvit_edge.data.split import load_split
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.files import ensure_writable, exclusive
    from qlvit_edge.quantised.session import quantised_run, run_quantised
    from qlvit_edge.training.checkpoint import SPLIT_FILE, load_checkpoint
    from qlvit_edge.training.devices import choose_device
    from qlvit_edge.training.places import data_folder

    _require_own_options()
    if options["from_run"] is None:
        raise click.UsageError("--quantise needs the run that is trained on: --from RUN")
    start = load_checkpoint(resolve_run(options["from_run"]))
    white_level_of(start.run)
    if start.run.adapted_from is not None and None in (options["data"], options["split_path"]):
        raise CheckpointError(
            options["from_run"],
            "was fitted to another microscope than its data are from",
            "name labelled cells of that one with --data and --split",
        )
    calibration = calibration_of(start)
    folder = scan(data_folder(start.run, options["data"]))
    split = load_split(options["split_path"] or start.folder / SPLIT_FILE)
    run = quantised_run(
        start,
        calibration,
        split,
        data=folder.root,
        form=options["quantise"],
        epochs=options["epochs"] or DEFAULT_EPOCHS,
        batch=_chosen(options, "batch", DEFAULT_BATCH),
        rate=_chosen(options, "rate", DEFAULT_RATE),
        images_per_epoch=options["images_per_epoch"],
        draw=options["seed"],
    )
    device = choose_device(options["device"])
    out: Path = options["out"]
    _require_free(out, options["resume"])
    is_new = not out.exists()
    ensure_writable(out)
    try:
        with exclusive(out), display() as listener:
            found = run_quantised(
                *(run, out, start, calibration, folder, split, device),
                options["resume"],
                listener,
            )
    finally:
        if is_new:
            with suppress(OSError):
                out.rmdir()  # nothing was written: it is empty
    _print(found, out)
    if found.best_epoch and found.changed >= found.changed_before:
        _print_no_gain(found, options["from_run"], options["quantise"])
        return
    next_step(
        f"qlvit-edge calibrate {shell_word(out)}",
        "measure its tensors and fit its guard; the trained ranges stay",
    )


def _chosen(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return an option that was given, or the default of a training as integers."""
    context = click.get_current_context()
    is_default = context.get_parameter_source(name) is ParameterSource.DEFAULT
    return default if is_default else options[name]


def _require_free(out: Path, resume: bool) -> None:
    from qlvit_edge.errors import CheckpointError
    from qlvit_edge.training.checkpoint import RUN_FILE

    if (out / RUN_FILE).exists() and not resume:
        raise CheckpointError(
            out, "already holds a run", "add --resume to continue it, or choose another --out"
        )


def _print(found: Integers, out: Path) -> None:
    handed = f"epoch {found.best_epoch} of {found.epochs}"
    if found.best_epoch == 0:
        handed = "the run as it was calibrated: no epoch was closer to float"
    click.echo(
        f"handed out: {handed}; divergence from float on the images it is chosen by: "
        f"{found.divergence_before:.4f} before, {found.divergence:.4f} after"
    )
    click.echo(
        f"test accuracy (whole images, {counted(found.test_images, 'image')}): "
        f"float {found.floats:.2%}, calibrated integers {found.calibrated:.2%} "
        f"({_net(found.changed_before)}), these integers {found.quantised:.2%} "
        f"({_net(found.changed)}); run folder: {out}"
    )


def _print_no_gain(found: Integers, start: Path | str, form: str) -> None:
    """Say that this training was no gain, and what to convert instead.

    What is handed out stays what it is: by test images nothing is chosen.
    """
    lost = found.changed - found.changed_before
    finding = (
        f"on {counted(lost, 'fewer test image')} than" if lost else "on no more test images than"
    )
    click.echo(
        f"warning: these integers are right {finding} the calibration alone, though closer to "
        "float on the images that the epoch was chosen by: this training is no gain",
        err=True,
    )
    softmax = "" if form == INTEGER_SOFTMAXES[0] else f" --softmax {form}"
    next_step(
        f"qlvit-edge convert {shell_word(start)} --out model.tflite{softmax}",
        "convert the run as it was calibrated",
    )


def _net(changed: int) -> str:
    """Say how many images integers lose against float, net."""
    if changed == 0:
        return "as many right as float"
    return f"{counted(abs(changed), 'image')} {'fewer' if changed > 0 else 'more'} right"
