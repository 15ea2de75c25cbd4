"""`qlvit-edge validate --merge`: the reports of several devices side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qlvit_edge.cli.console import next_step
from qlvit_edge.errors import DataError, GateError


def merge_reports(paths: Sequence[Path], out: Path, *, as_json: bool) -> None:
    """Compare reports, write `comparison.json` and `index.html`, and print one of them in words.

    Raises:
        GateError: the model may not be used on one of the devices, or they differ where they must
            not.
        DataError: fewer than two reports, or reports that cannot be compared, or that the
            comparison would overwrite.
        UsageError: an option was given that measures.
    """
    from qlvit_edge.evaluation.merged import lines, merge
    from qlvit_edge.evaluation.merged_page import render
    from qlvit_edge.evaluation.stored_report import read_report
    from qlvit_edge.files import ensure_writable, json_text, write_json, write_text

    _require_no_measuring()
    found = merge([read_report(path) for path in paths])
    if out.resolve() in {path.resolve().parent for path in paths}:
        raise DataError(out, "holds a report that is compared", "name another folder with --out")
    ensure_writable(out)
    write_json(out / "comparison.json", found.as_dict())
    write_text(out / "index.html", render(found))
    if as_json:
        click.echo(json_text(found.as_dict()))
    else:
        for line in [*lines(found), f"comparison: {out / 'index.html'}"]:
            click.echo(line)
    if found.verdict.failures:
        reasons = " and ".join(found.verdict.failures)
        raise GateError(paths[0], reasons, f"see {out / 'index.html'}")
    next_step("keep comparison.json with the model's records", as_json=as_json)


def _require_no_measuring() -> None:
    """Refuse options that a comparison of reports would not heed.

    Raises:
        UsageError: one is given.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "")
        if given is click.core.ParameterSource.COMMANDLINE and parameter.name not in _HEEDED:
            raise click.UsageError(f"{parameter.opts[0]} measures, --merge does not: leave one out")


_HEEDED = ("models", "out", "merge", "as_json")
