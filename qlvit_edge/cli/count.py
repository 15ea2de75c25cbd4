"""`qlvit-edge count`: the differential of a stored run."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.cli.count_options import analyser_option
from qlvit_edge.cli.options import Whole


@click.command("count")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--run",
    "run_id",
    type=Whole(min=1),
    metavar="N",
    help="Number of the run  [default: the last]",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="The run's model file, or a bundled name: corrects the count for the model's mistakes, "
    "and names classes of which no cell was found.",
)
@analyser_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    results: Path, run_id: int | None, model: str | None, analyser: str | None, as_json: bool
) -> None:
    """Show the differential of a run that is stored in RESULTS.

    Per class: counted cells (whole ones whose answer was accepted), their share and its exact 95 %
    limits. What is no white cell (erythroblasts, platelets) and what was not accepted stands
    beside. What people decided in a review is not in it: `results show` has that. Reads the file
    and changes nothing, also while a run writes to it. For research use only, not for diagnosis.

    \b
    Example:
      qlvit-edge count results.sqlite
      qlvit-edge count results.sqlite --run 3 --model wbc.tflite --analyser sample.toml --json
    """
    from dataclasses import asdict

    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.cli.console import next_step, shell_word
    from qlvit_edge.cli.count_text import print_differential
    from qlvit_edge.files import json_text
    from qlvit_edge.microscope.stored_count import read_count, stored_differential

    stored = read_count(results, run_id)
    path = None if model is None else resolve_model(model)
    found = stored_differential(stored, path, analyser)
    if as_json:
        click.echo(json_text({**asdict(stored.run), "differential": found.as_dict()}))
        return
    print_differential(
        found, f"Run {stored.run.run_id} of {stored.run.model}: {stored.run.outcome}"
    )
    if stored.run.review is not None:
        show = f"qlvit-edge results show {shell_word(results)} --run {stored.run.run_id}"
        click.echo(
            "these are the model's answers; what people confirmed or changed "
            f"({stored.run.review}): {show}"
        )
    if stored.run.counted_once:
        click.echo("each cell of the slide is counted once")
    if stored.run.statement is not None:
        click.echo(f"images: {stored.run.statement}")
    again = f"qlvit-edge count {shell_word(results)} --run {stored.run.run_id}"
    if model is None:
        next_step(f"{again} --model MODEL", "corrects it for the model's mistakes")
    else:
        next_step(f"{again} --model {shell_word(model)} --json", "for another program")
