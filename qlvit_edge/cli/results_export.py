"""`qlvit-edge results export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.options import Whole
from qlvit_edge.cli.result_options import results_argument, say
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.review.store import ReviewedRun

_BY_ENDING = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@click.command()
@results_argument
@click.option(
    "--run",
    "runs",
    type=Whole(min=1),
    multiple=True,
    metavar="N",
    help="Number of a run; may be given again  [default: all]",
)
@click.option("--sample", metavar="ID", help="All runs of this sample.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File, or folder, to write."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet", "crops", "geojson"]),
    help="What to write: one row per cell; crops, a folder of pictures per class; geojson, "
    "detections for QuPath, one file per frame  [default: by the ending of --out]",
)
@click.option(
    "--reviewed",
    is_flag=True,
    help="Only cells that people confirmed or changed; without --format: crops, as `train` and "
    "`adapt` take them.",
)
@click.option("--by", metavar="NAME", help="Who exports; needed for signed runs, and recorded.")
def export(
    results: Path,
    runs: tuple[int, ...],
    sample: str | None,
    out: Path,
    kind: str | None,
    reviewed: bool,
    by: str | None,
) -> None:
    """Write what is stored in RESULTS to OUT.

    Every row says whether the run is signed, and by whom; of one that is not it says PRELIMINARY.
    That a signed run was exported is recorded. Crops and GeoJSON need the frames that `run --keep`
    saved.

    \b
    Example:
      qlvit-edge results export results.sqlite --run 1 --out run1.csv --by "A. Reader"
      qlvit-edge results export results.sqlite --reviewed --out cells/
      qlvit-edge data split cells/ --out split.json
    """
    from qlvit_edge.files import require_other

    kind = kind or _BY_ENDING.get(out.suffix.lower()) or ("crops" if reviewed else None)
    if kind is None:
        raise click.UsageError("--format: OUT does not tell; name one, or end OUT in .csv")
    require_other(out, results)
    seen = _read(results, runs, sample)
    signed = [one.run.run for one in seen if one.status.is_signed]
    if signed and by is None:
        said = ", ".join(map(str, signed))
        raise click.UsageError(f"--by: run {said} is signed, and who exports it is recorded")
    _write(kind, results, out, seen, reviewed, lambda: _record(results, signed, out, str(by)))
    for one in seen:
        click.echo(plain(f"run {one.run.run}: {one.status.statement()}"))
    if kind == "crops" and reviewed:
        samples = {one.run.sample or str(one.run.run) for one in seen}
        groups = f" --groups {shell_word(out / 'sources.csv')}" if len(samples) > 1 else ""
        next_step(f"qlvit-edge data split {shell_word(out)}{groups} --out split.json")


def _read(results: Path, runs: tuple[int, ...], sample: str | None) -> list[ReviewedRun]:
    from qlvit_edge.errors import DataError
    from qlvit_edge.review.cells import runs_of
    from qlvit_edge.review.opening import reading
    from qlvit_edge.review.store import reviewed_run, run_row

    with reading(results) as connection:
        for run in runs:
            run_row(connection, results, run)
        rows = [
            row
            for row in runs_of(connection)
            if (not runs or row.run in runs) and sample in (None, row.sample)
        ]
        if not rows:
            finding = "it holds no run" if sample is None else f"it has no sample {sample!r}"
            raise DataError(results, finding, "`results list` shows what there is")
        return [reviewed_run(connection, results, row.run) for row in rows]


def _record(results: Path, signed: list[int], out: Path, by: str) -> None:
    """Record the export of signed runs: all is written, and has not got its name yet."""
    from qlvit_edge.review.store import ReviewStore

    if signed:
        with ReviewStore(results, note=say) as store:
            for run in signed:
                store.export(run, to=out.name, by=by)


def _write(
    kind: str,
    results: Path,
    out: Path,
    seen: list[ReviewedRun],
    reviewed: bool,
    leaving: Callable[[], None],
) -> None:
    from qlvit_edge.files import atomic_path
    from qlvit_edge.review import tables
    from qlvit_edge.review.crops import write_crops
    from qlvit_edge.review.geojson import write_detections
    from qlvit_edge.review.rows import rows_of

    if kind == "crops":
        tree = write_crops(results, out, seen, reviewed=reviewed, leaving=leaving)
        for name, images in tree.images.items():
            click.echo(plain(f"{name}: {counted(images, 'picture')}"))
        for name in tree.left_out:
            say(plain(f"{name}: left out, it has one cell and `train` needs two of each class"))
        return
    if kind == "geojson":
        files = write_detections(results, out, seen, leaving)
        click.echo(f"{counted(files, 'frame')} in {plain(str(out))}")
        return
    rows = [
        row
        for one in seen
        for row in rows_of(one)
        if not reviewed or row["final_label"] is not None
    ]
    writers = {
        "csv": tables.write_csv,
        "jsonl": tables.write_json_lines,
        "parquet": tables.write_parquet,
    }
    with atomic_path(out) as temporary:
        writers[kind](temporary, rows)
        leaving()
    click.echo(f"{counted(len(rows), 'cell')} in {plain(str(out))}")
