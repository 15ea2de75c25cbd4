"""`qlvit-edge doctor`: is everything right on this device, and if not, what is to be done?"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.delivery_options import model_path
from qlvit_edge.cli.options import Number
from qlvit_edge.credentials import masked
from qlvit_edge.doctor.finding import DEFAULT_MODEL, Finding, Place, passed
from qlvit_edge.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON_FORMAT = 1
"""Version of what `--json` prints; fields are added, never changed."""

_WORDS = {"ok": "ok", "warning": "warning", "fail": "FAIL", "not checked": "not checked"}


@click.command("doctor")
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--camera", metavar="SOURCE", help="Take some frames of this camera; see `run --camera`."
)
@click.option(
    "--out",
    "results",
    type=click.Path(path_type=Path),
    metavar="RESULTS",
    help="The results file that runs write  [default: only the working folder is looked at]",
)
@click.option(
    "--hours",
    type=Number(min=0, min_open=True),
    default=8.0,
    show_default=True,
    help="How long a run is to last, for the room on the disk.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    model: str, camera: str | None, results: Path | None, hours: float, as_json: bool
) -> None:
    """Look whether everything is right on this device, and say what to do where it is not.

    MODEL is a .tflite file, the name of a bundled model, or `installed`, the model that runs on
    this device  [default: blood-nano]. Each line is ok, a warning, FAIL, or not checked, with the
    reason. A check that hangs is given up; nothing is changed on the device.
    Exit code 1: something fails. Warnings do not count.

    \b
    Example:
      qlvit-edge doctor
      qlvit-edge doctor wbc.tflite --camera picamera2 --out /var/lib/qlvit-edge/results.sqlite
    """
    from qlvit_edge.doctor.examination import examine

    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    place = Place(model_path(model), results, camera, hours, encoding)
    found = examine(place)
    if as_json:
        findings = list(found)
        _print_json(findings)
    elif table_console().is_terminal:
        findings = list(found)
        _print_table(findings)
    else:
        findings = list(_printed_lines(found))
    if not as_json:
        click.echo(_summary(findings))
        _say_next(findings, model, camera)
    if not passed(findings):
        click.get_current_context().exit(1)


def _printed_lines(findings: Iterable[Finding]) -> Iterable[Finding]:
    for one in findings:
        remedy = f"; {one.remedy}" if one.remedy else ""
        click.echo(plain(f"{_WORDS[one.state]:<12}{one.check}: {one.text}{remedy}"))
        yield one


def _print_table(findings: Sequence[Finding]) -> None:
    table = plain_table("This device", "", "check", "found", "what to do")
    for column in table.columns:
        column.overflow = "fold"  # a path is of no use with its end left out
    for one in findings:
        table.add_row(_WORDS[one.state], one.check, one.text, one.remedy)
    table_console().print(table)


def _print_json(findings: Sequence[Finding]) -> None:
    from qlvit_edge.files import json_text
    from qlvit_edge.version import installed_version

    said: dict[str, Any] = {
        "format": JSON_FORMAT,
        "version": installed_version(),
        "passed": passed(list(findings)),
        "findings": [asdict(one) for one in findings],
    }
    click.echo(json_text(said))


def _summary(findings: Sequence[Finding]) -> str:
    counts: Counter[str] = Counter(one.state for one in findings)
    return ", ".join(f"{counts[state]} {word}" for state, word in _WORDS.items())


def _say_next(findings: Sequence[Finding], model: str, camera: str | None) -> None:
    if not passed(list(findings)):
        next_step("do what stands beside each FAIL, and run this again")
    else:
        source = shell_word(masked(camera)) if camera else "SOURCE"
        next_step(f"qlvit-edge run {shell_word(model)} --camera {source} --out results.sqlite")
