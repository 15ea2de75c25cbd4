"""`qlvit-edge results report`."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.cli.result_options import results_argument, run_option, say
from qlvit_edge.text import plain


@click.command()
@results_argument
@run_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HTML file to write.")
@click.option(
    "--model",
    metavar="MODEL",
    help="The run's model file, or a bundled name: corrects the model's count for its mistakes.",
)
@click.option("--by", metavar="NAME", help="Who exports; needed for a signed run, and recorded.")
def report(results: Path, run: int | None, out: Path, model: str | None, by: str | None) -> None:
    """Write a run of RESULTS as one page of HTML that prints to one A4 page.

    It says whether the run is signed or PRELIMINARY, with what it was made, the differential as
    people and as the model have it, and what stands beside; shows cells where `run --keep` saved
    the frames; and leaves room for signatures. That a signed run leaves is recorded.

    \b
    Example:
      qlvit-edge results report results.sqlite --run 1 --out run1.html --by "A. Reader"
    """
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.exchange.sheet import render
    from qlvit_edge.exchange.sheet_reading import read_sheet
    from qlvit_edge.files import atomic_path, require_other
    from qlvit_edge.review.selecting import unchanged
    from qlvit_edge.review.store import ReviewStore

    path = None if model is None else resolve_model(model)
    require_other(out, results, *([] if path is None else [path]))
    sheet = read_sheet(results, run, path)
    seen = sheet.seen
    if seen.status.is_signed and by is None:
        raise click.UsageError(
            f"--by: run {seen.run.run} is signed, and who exports it is recorded"
        )
    with atomic_path(out) as temporary:
        temporary.write_bytes(render(sheet).encode("utf-8"))
        if seen.status.is_signed:
            with ReviewStore(results, note=say) as store:
                also = unchanged(results, seen)
                store.export(seen.run.run, to=out.name, by=str(by), also=also)
    click.echo(plain(f"run {seen.run.run}: {seen.status.statement()}"))
