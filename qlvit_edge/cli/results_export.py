"""`qlvit-edge results export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.result_options import results_argument, runs_option, say
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.review.store import ReviewedRun

_BY_ENDING = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_BY_ENDING |= {".hl7": "hl7"}


@click.command()
@results_argument
@runs_option
@click.option("--sample", metavar="ID", help="All runs of this sample.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File, or folder, to write."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet", "crops", "geojson", "hl7", "ome-tiff"]),
    help="What to write: one row per cell; crops, a folder of pictures per class; geojson, "
    "detections for QuPath, one file per frame; ome-tiff, these with their frames; hl7, one "
    "message per run  [default: by the ending of --out]",
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
    That a signed run was exported is recorded. Crops, GeoJSON and OME-TIFF need the frames that
    `run --keep` saved.

    \b
    Example:
      qlvit-edge results export results.sqlite --run 1 --out run1.csv --by "A. Reader"
      qlvit-edge results export results.sqlite --reviewed --out cells/
      qlvit-edge data split cells/ --out split.json
    """
    from qlvit_edge.files import require_other
    from qlvit_edge.review.selecting import selected

    kind = kind or _BY_ENDING.get(out.suffix.lower()) or ("crops" if reviewed else None)
    if kind is None:
        raise click.UsageError("--format: OUT does not tell; name one, or end OUT in .csv")
    require_other(out, results)
    seen = selected(results, runs, sample)
    signed = [one for one in seen if one.status.is_signed]
    if signed and by is None:
        said = ", ".join(str(one.run.run) for one in signed)
        raise click.UsageError(f"--by: run {said} is signed, and who exports it is recorded")
    _write(kind, results, out, seen, reviewed, lambda: _record(results, signed, out, str(by)))
    for one in seen:
        click.echo(plain(f"run {one.run.run}: {one.status.statement()}"))
    if kind == "crops" and reviewed:
        samples = {one.run.sample or str(one.run.run) for one in seen}
        groups = f" --groups {shell_word(out / 'sources.csv')}" if len(samples) > 1 else ""
        next_step(f"qlvit-edge data split {shell_word(out)}{groups} --out split.json")


def _record(results: Path, signed: list[ReviewedRun], out: Path, by: str) -> None:
    """Record the export of signed runs: all is written, and has not got its name yet."""
    from qlvit_edge.review.selecting import unchanged
    from qlvit_edge.review.store import ReviewStore

    if signed:
        with ReviewStore(results, note=say) as store:
            for one in signed:
                store.export(one.run.run, to=out.name, by=by, also=unchanged(results, one))


def _write(
    kind: str,
    results: Path,
    out: Path,
    seen: list[ReviewedRun],
    reviewed: bool,
    leaving: Callable[[], None],
) -> None:
    from qlvit_edge.exchange.ome_tiff import write_fields
    from qlvit_edge.exchange.oru import message_of
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
    if kind == "hl7":
        with atomic_path(out) as temporary:
            said = "".join(message_of(one).text for one in seen)
            temporary.write_bytes(said.encode("utf-8"))
            leaving()
        click.echo(f"{counted(len(seen), 'message')} in {plain(str(out))}")
        return
    if kind in ("geojson", "ome-tiff"):
        write = write_detections if kind == "geojson" else write_fields
        files = write(results, out, seen, leaving)
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
