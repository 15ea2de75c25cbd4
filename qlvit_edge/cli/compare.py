"""`qlvit-edge compare`: one network through every route, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.choices import ROUTES
from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Number, Whole, WordList, white_level_of, white_level_option
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.cli.plain_table import PlainTable
    from qlvit_edge.converters.routes.compare import RouteComparison, Row


@click.command("compare")
@click.argument("run")
@click.option(
    "--routes",
    type=WordList(ROUTES),
    default=",".join(ROUTES),
    show_default=True,
    help="Routes of `convert`.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images  [default: what the run records; bundled: its crops]",
)
@click.option(
    "--split",
    "split_path",
    type=click.Path(path_type=Path),
    help="Split whose test side is used  [default: the run's]",
)
@click.option(
    "--images",
    "count",
    type=Whole(1),
    default=200,
    show_default=True,
    help="Test images, evenly over the classes.",
)
@click.option(
    "--rounds",
    type=Whole(1),
    default=60,
    show_default=True,
    help="Rounds of the latency measurement; each runs every row 3 times.",
)
@click.option(
    "--max-drop",
    type=Number(0, 100),
    default=0.5,
    show_default=True,
    help="Accuracy that 8 bits may cost, in points, as in `convert`.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="Python of the environment with onnx2tf  [default: $QLVIT_EDGE_ONNX2TF_PYTHON or "
    ".venv-onnx2tf here]",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write as JSON.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy over latency (PNG).")
@white_level_option
def command(
    run: str,
    routes: tuple[str, ...],
    data: Path | None,
    split_path: Path | None,
    count: int,
    rounds: int,
    max_drop: float,
    python: Path | None,
    json_path: Path | None,
    plot: Path | None,
) -> None:
    """Convert RUN by every route and show what each file answers and what it costs.

    RUN is a run folder or the name of a bundled model. A route that fails is a row with its
    error; a file that is not the network is a row with the accuracy it has. All files run on one
    thread and take turns, in a new order every round; memory is counted above the bare runtime's,
    each in a process of its own. Exit code 0 even if a route fails.

    \b
    Example:
      qlvit-edge compare runs/wbc --routes native,onnx --plot routes.png
      qlvit-edge compare blood-nano --python .venv-onnx2tf/bin/python --json routes.json
    """
    require("onnx", "torch", "safetensors", "onnx", "onnxruntime")
    if plot is not None:
        require("plots", "matplotlib")
    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.proof_images import proof_images
    from qlvit_edge.converters.routes.compare import compare_routes
    from qlvit_edge.files import ensure_writable, require_target, write_json
    from qlvit_edge.training.checkpoint import load_checkpoint

    for target in filter(None, (json_path, plot)):
        require_target(target)
        ensure_writable(target.absolute().parent)
    checkpoint = load_checkpoint(resolve_run(run))
    white_level_of(checkpoint.run)
    proof = proof_images(checkpoint, data, split_path, is_bundled(run), progress_bar)
    log = Path.cwd() / f"{checkpoint.folder.resolve().name}-onnx2tf.log"
    found = compare_routes(
        checkpoint,
        lambda: calibration_of(checkpoint),
        routes,
        proof,
        count,
        rounds,
        max_drop=max_drop,
        python=python,
        data=data,
        log=log,
        progress=progress_bar,
    )
    _print(found)
    if json_path is not None:
        write_json(json_path, asdict(found))
    if plot is not None:
        from qlvit_edge.evaluation.plots import plot_routes

        points = [
            (row.name, row.route, row.latency_ms, row.accuracy, row.failure is None)
            for row in found.rows
            if row.latency_ms is not None and row.accuracy is not None
        ]
        plot_routes(points, plot)
    next_step(
        f"qlvit-edge convert {shell_word(run)} --out model.tflite", "write the file of one route"
    )


def _print(found: RouteComparison) -> None:
    console = table_console()
    console.print(_answers(found.rows, f"Answers on {found.origin}"))
    console.print(_costs(found.rows, found.rounds))
    for row in found.rows:
        if row.failure is not None:
            console.print(f"{row.name}: {row.failure}", highlight=False, markup=False)
    click.echo("For research use only, not for diagnosis.")
    console.print(found.machine.words, highlight=False, markup=False)


def _answers(rows: Sequence[Row], title: str) -> PlainTable:
    table = plain_table(title)
    table.add_column("file", overflow="fold")
    for heading in ("accuracy", "same class", "no delegate", "median off", "worst off", "verdict"):
        table.add_column(heading, justify="right")
    for row in rows:
        close = row.closeness
        table.add_row(
            row.name,
            _percent(row.accuracy),
            _percent(row.agreement),
            _percent(row.agreement_builtin),
            "" if close is None else f"{close.median:.2g}",
            "" if close is None else f"{close.worst:.2g}",
            "passes" if row.failure is None else "refused" if row.bytes else "not made",
        )
    table.caption = "same class as PyTorch; off: logits, in standard deviations of PyTorch's"
    return table


def _costs(rows: Sequence[Row], rounds: int) -> PlainTable:
    table = plain_table(f"Costs, one thread, {counted(rounds, 'round')} in turns")
    table.add_column("file", overflow="fold")
    for heading in ("ms", "peak MB", "file kB", "float tensors", "partitions", "convert s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            _number(row.latency_ms, ".2f"),
            _number(row.peak_bytes, ".1f", 1e6),
            _number(row.bytes, ".0f", 1e3),
            _number(row.float_tensors, "d"),
            _number(row.partitions, "d"),
            _number(row.convert_seconds, ".1f"),
        )
    table.caption = (
        "peak: above the bare runtime; partitions: of XNNPACK; convert: without the proof, the "
        "files of onnx2tf share most of it"
    )
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _number(value: float | None, form: str, unit: float | None = None) -> str:
    if value is None:
        return ""
    return format(value if unit is None else value / unit, form)
