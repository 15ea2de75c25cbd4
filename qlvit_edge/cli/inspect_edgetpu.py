"""The answer and the tables of `inspect --edgetpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlvit_edge.cli.inspect_model import file_table, say

if TYPE_CHECKING:
    from rich.console import Console

    from qlvit_edge.cli.plain_table import PlainTable
    from qlvit_edge.modelfile.edgetpu_report import ForecastReport

MIB = 1024 * 1024


def print_forecast(console: Console, found: ForecastReport, *, summary: bool) -> None:
    """Print a forecast: the answer, why, then what it rests on.

    Args:
        console: where to print.
        found: the forecast.
        summary: leave out the list of single operators.
    """
    say(console, _sentence(found.answer), "bold")
    if found.why:
        say(console, f"Why: {found.why}.", "")
    say(console, f"! {found.note}", "yellow")
    console.print()
    if found.compiled:
        console.print(_kinds(found, "Compiled"))
    else:
        console.print(_overview(found))
        console.print(_kinds(found, "Compiled as one file"))
    if not summary:
        console.print(_operators(found))


def _kinds(found: ForecastReport, title: str) -> PlainTable:
    rows = file_table(title, "operator", "count>", "status")
    for kind in found.kinds:
        rows.add_row(kind.name, str(kind.count), _with_doubt(kind.status, kind.remark))
    return rows


def _operators(found: ForecastReport) -> PlainTable:
    by_itself = () if found.compiled else ("keeps the rules",)
    rows = file_table(
        "Edge TPU, operator by operator", "#>", "operator", *by_itself, "as one file", "MACs>"
    )
    for number, operator in enumerate(found.operators):
        rule = _with_doubt("yes", operator.remark) if operator.mapped else f"no: {operator.reason}"
        on_tpu = "mapped" if operator.monolithic == "mapped" else "CPU"
        verdicts = (on_tpu,) if found.compiled else (rule, on_tpu)
        rows.add_row(str(number), operator.name, *verdicts, f"{operator.macs:,}")
    return rows


def _overview(found: ForecastReport) -> PlainTable:
    whole, mapped = found.monolithic, found.mapped
    count = len(found.operators)
    least, most = (size / MIB for size in found.parameter_room_bytes)
    rows = file_table("Edge TPU", "property", "value")
    rows.add_row(
        "operators that keep the rules",
        f"{mapped.operators} of {count}, {mapped.share:.1%} of the MACs",
    )
    rows.add_row(
        "compiled as one file",
        f"{whole.operators} of {count} mapped, {whole.share:.1%} of the MACs",
    )
    rows.add_row("first operator on the CPU", whole.first_on_cpu or "none")
    rows.add_row(
        "parameters",
        f"{found.parameter_bytes / MIB:.2f} MiB {found.parameters} "
        f"({least:.1f} to {most:.1f} of {found.sram_bytes / MIB:.0f} MiB are left for them)",
    )
    if found.subgraphs > 1:
        rows.add_row("graphs in the file", f"{found.subgraphs}: the compiler accepts one")
    return rows


def _with_doubt(verdict: str, remark: str | None) -> str:
    return verdict if remark is None else f"{verdict}, in doubt: {remark}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
