"""What `qlvit-edge reference` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.reference.checking import FieldsSeen, SlideSeen
    from qlvit_edge.reference.history import Record
    from qlvit_edge.reference.judgement import Judgement


def print_check(
    today: Record, seen: FieldsSeen, slide: SlideSeen | None, judgement: Judgement
) -> None:
    """Print one check for people."""
    click.echo(_share("cells located", today.located, today.labelled))
    click.echo(_share("called as people do, of the located", today.agreed, today.compared))
    click.echo(_share("the same, of the accepted", seen.accepted_agreed, seen.accepted))
    if today.extra:
        click.echo(f"found besides: {counted(today.extra, 'cell')} that nobody labelled")
    for label, number in sorted(seen.unknown.items()):
        click.echo(plain(f"{label}: {counted(number, 'cell')}, a class that the model lacks"))
    if slide is not None:
        _print_slide(slide, seen, judgement)
    measures = ", ".join(f"{name} {value:.1f}" for name, value in today.measures.items())
    click.echo(f"{'stored fields' if slide is None else 'under the camera'}: {measures}")
    if judgement.first is not None:
        before = judgement.first.measures
        moved = ", ".join(
            f"{name} {value - before[name]:+.1f}"
            for name, value in today.measures.items()
            if name in before
        )
        click.echo(f"since the first day, {judgement.first.at[:10]}: {moved}")
    from qlvit_edge.reference.limits import LEARNT_FROM

    if judgement.is_learning:
        click.echo(
            f"limits: provisional, learnt from {judgement.learnt} of {LEARNT_FROM} earlier checks"
        )
    for one in judgement.warnings:
        click.echo(plain(f"WARNING: {one.text}; {one.remedy}"))
    if not judgement.warnings:
        click.echo("as usual")


def _print_slide(slide: SlideSeen, seen: FieldsSeen, judgement: Judgement) -> None:
    table = plain_table("The model on the slide", "class", "stored fields>", "camera>")
    for label in sorted({*slide.counts, *seen.counts}):
        table.add_row(label, seen.counts[label], slide.counts[label])
    table_console(wrap=False).print(table)
    chance = judgement.probability
    said = "too few cells to compare" if chance is None else f"p = {chance:.3f} (chi-squared)"
    click.echo(f"camera: {counted(slide.frames, 'frame')}; {said}")


def _share(what: str, part: int, whole: int) -> str:
    from qlvit_edge.statistics import clopper_pearson

    if not whole:
        return f"{what}: none to judge"
    low, high = clopper_pearson(part, whole)
    return (
        f"{what}: {part} of {whole} ({part / whole:.1%}, 95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %)"
    )


def print_history(records: list[Record]) -> None:
    """Print a history as a table."""
    table = plain_table(
        "Checks",
        "UTC",
        "model",
        "camera",
        "located>",
        "agreement>",
        "white>",
        "sharpness>",
        "finding",
    )
    for record in records:
        table.add_row(
            record.at[:16].replace("T", " "),
            record.model_sha256[:8],
            record.camera or "stored fields",
            f"{record.located}/{record.labelled}",
            f"{record.agreed}/{record.compared}",
            f"{record.measures.get('white level', 0):.0f}",
            f"{record.measures.get('sharpness', 0):.0f}",
            "; ".join(record.warnings) or "as usual",
        )
    table_console(wrap=False).print(table)


def print_json(today: Record, judgement: Judgement, damaged: list[int]) -> None:
    """Print one check as JSON."""
    from qlvit_edge.files import json_text

    said: dict[str, Any] = today.model_dump(mode="json")
    said["limits_learnt_from"] = judgement.learnt
    said["probability"] = judgement.probability
    said["damaged_lines"] = damaged
    said["passed"] = not (today.warnings or damaged)
    click.echo(json_text(said))
