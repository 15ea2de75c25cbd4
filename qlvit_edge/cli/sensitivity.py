"""`qlvit-edge sensitivity`: what each layer costs when it computes in integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.choices import INTEGER_SOFTMAXES
from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Whole, white_level_of, white_level_option
from qlvit_edge.presence import present
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.calibration.sensitivity import Sensitivity


@click.command("sensitivity")
@click.argument("run")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of labelled images  [default: what the run was trained on; for a bundled run "
    "the bundled crops]",
)
@click.option(
    "--images",
    "count",
    type=Whole(1),
    metavar="N",
    default=64,
    show_default=True,
    help="Images that the layers are measured on.",
)
@click.option(
    "--softmax",
    type=click.Choice(INTEGER_SOFTMAXES),
    default=INTEGER_SOFTMAXES[0],
    show_default=True,
    help="Form of the integer softmax.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Picture to write (PNG)  [default: sensitivity.png in RUN, none for a model's name]",
)
@white_level_option
def command(
    run: str, data: Path | None, count: int, softmax: str, as_json: bool, plot: Path | None
) -> None:
    """Find which layers of the calibrated network in RUN cost most in integers.

    RUN is a run folder or the name of a bundled model. Every layer (stem, head, the parts of
    every block) is measured twice on the same images: alone in integers in the float network, and
    alone in float in the integer network. Where RUN's data is at hand, no image is one that the
    network was calibrated or is tested on.

    \b
    Example:
      qlvit-edge sensitivity runs/wbc --images 64
    """
    require("convert", "torch", "safetensors", "matplotlib")
    from dataclasses import asdict
    from typing import cast

    from qlvit_edge.bundled import is_bundled, is_named, resolve_run
    from qlvit_edge.calibration.evaluation_images import images_for_layers
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.calibration.sensitivity import measure
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.evaluation import plots
    from qlvit_edge.files import ensure_writable, json_text, require_target
    from qlvit_edge.integer.log2_softmax import Form
    from qlvit_edge.training.checkpoint import load_checkpoint

    folder = resolve_run(run)
    if plot is None and not is_named(run):
        plot = folder / "sensitivity.png"
    if plot is not None:
        require_target(plot)
        ensure_writable(plot.absolute().parent)
    checkpoint = load_checkpoint(folder)
    white_level_of(checkpoint.run)
    calibration = calibration_of(checkpoint)
    chosen = images_for_layers(checkpoint, calibration, data, count, is_bundled(run))
    views = chosen.views(checkpoint.run.network)
    form = cast("Form", softmax)
    found = measure(checkpoint, calibration, form, views, chosen.labels, progress_bar)
    if plot is not None:
        plots.plot_sensitivity(
            [cost.layer for cost in found.layers],
            [cost.alone.relative_rms for cost in found.layers],
            [cost.without.relative_rms for cost in found.layers if cost.without is not None],
            found.whole.relative_rms,
            plot,
        )
    if as_json:
        click.echo(json_text({"origin": chosen.origin, **asdict(found)}))
    else:
        _print(found, chosen.origin)
        next_step(
            f"qlvit-edge convert {shell_word(run)} --out model.tflite --int16-layers 3",
            "keep the worst in int16, if accuracy is lost",
        )


def _print(found: Sensitivity, origin: str) -> None:
    table = plain_table(
        f"One layer at a time, on {counted(found.images, 'image')}: {origin}",
        *("layer", "share>", "alone in integers>", "same class>", "accuracy>"),
        *("alone in float>", "same class>", "accuracy>"),
    )
    table.columns[0].no_wrap = True
    for cost in found.worst():
        cells = [cost.layer, f"{cost.share:.1%}"]
        for measured in (cost.alone, cost.without):
            side = present(measured, f"the cost of {cost.layer}")
            noise = "exact" if side.sqnr_db is None else f"{side.sqnr_db:.1f} dB"
            cells += [noise, f"{side.agreement:.1%}", _per_cent(side.accuracy)]
        table.add_row(*cells)
    table_console().print(table)
    whole = found.whole
    noise = "exact" if whole.sqnr_db is None else f"SQNR {whole.sqnr_db:.1f} dB"
    click.echo(
        f"all layers in integers: {noise}, same class {whole.agreement:.1%}, "
        f"accuracy {_per_cent(whole.accuracy)} (float {_per_cent(found.float_accuracy)})"
    )


def _per_cent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
