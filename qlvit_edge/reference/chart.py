"""The drift chart: every series over the checks, with its limits, as one page without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from qlvit_edge.evaluation import report
from qlvit_edge.evaluation.svg import INK, SOFT, Axes, Drawing, ticks
from qlvit_edge.palette import COLOURS
from qlvit_edge.reference.history import Record, identity, of_the_same
from qlvit_edge.reference.judgement import Judgement
from qlvit_edge.reference.limits import (
    LEARNT_FROM,
    SERIES,
    Limits,
    Series,
    learnt,
    share_deviations,
)
from qlvit_edge.text import RESEARCH_ONLY, counted

SHOWN, LISTED = 120, 20
"""Checks in a chart, and in a table: the newest ones."""

_GOOD, _BAD, _OTHER = COLOURS[0], COLOURS[1], "#9aa7b3"
_FRAME: Final = (62.0, 34.0, 384.0, 206.0)
_HALVINGS: Final = 50


def render(records: Sequence[Record], judgement: Judgement | None, damaged: int) -> str:
    """Return the page of a history.

    Args:
        records: all checks, oldest first; at least one.
        judgement: of the newest; None: only what was noted of it is shown.
        damaged: lines that could not be read.
    """
    today = records[-1]
    where = today.camera or "stored fields"
    return report.page(
        "Daily check of the reference slide",
        f"{today.model}, {where}; {counted(len(records), 'check')} from {records[0].at[:10]} to "
        f"{today.at[:10]}",
        [
            _verdict(today, judgement),
            report.notice(RESEARCH_ONLY),
            *([report.notice(f"{counted(damaged, 'line')} of the history cannot be read")])
            * bool(damaged),
            report.section("Over the days", report.drawings(_drawings(records)), _legend()),
            report.section("What was not as usual", _unusual(records)),
            report.section("The newest checks", _table(records)),
            report.footer(f"Reference {today.reference[:12]}; {today.program}, {today.runtime}"),
        ],
    )


def _verdict(today: Record, judgement: Judgement | None) -> str:
    if today.warnings:
        return report.verdict("look at it first", "; ".join(today.warnings), "bad")
    if judgement is not None and judgement.is_learning:
        text = f"limits are learnt: {judgement.learnt} of {LEARNT_FROM} checks so far"
        return report.verdict("nothing unusual", text, "less")
    return report.verdict("as usual", "within all limits, and nothing was changed", "good")


def _drawings(records: Sequence[Record]) -> list[str]:
    shown = records[-SHOWN:]
    today = records[-1]
    same = of_the_same(records, today) if not today.begins else [today]
    return [_drawing(series, shown, same, today) for series in SERIES]


def _drawing(series: Series, shown: Sequence[Record], same: Sequence[Record], today: Record) -> str:
    drawing = Drawing(392, 244, f"{series.name} over the checks, with its limits.")
    drawing.text(0, 16, series.name, size=14, bold=True)
    points = [
        (number, value, record)
        for number, record in enumerate(shown)
        if (value := series.value(record)) is not None
    ]
    if not points:
        drawing.text(196, 120, "nothing recorded", anchor="middle", colour=SOFT)
        return drawing.render()
    limits = learnt(series, [record for record in same if record is not today] or same)
    bounds = [] if limits is None else _bounds(series, limits, today)
    low, high = _extent([value for _, value, _ in points] + [at for _, at in bounds])
    axes = Axes(drawing, _FRAME, (-0.5, max(len(shown) - 0.5, 1.5)), (low, high))
    axes.grid([], ticks(low, high, 5), percent=series.parts is not None)
    _dates(drawing, axes, shown)
    for far, at in bounds:
        dash = "" if far == 0 else "6 3" if abs(far) == 3 else "2 3"
        colour = INK if far == 0 else _BAD if abs(far) == 3 else SOFT
        drawing.line((axes.left, axes.y(at)), (axes.right, axes.y(at)), colour, dash=dash)
    own = identity(today)
    for number, value, record in points:
        out = series.name in record.broken
        colour = _OTHER if identity(record) != own else _BAD if out else _GOOD
        shown_value = f"{value:.1%}" if series.parts is not None else f"{value:.1f}"
        drawing.dot(
            axes.x(number),
            axes.y(value),
            4.5 if out else 3.2,
            colour,
            title=f"{record.at[:16]}: {shown_value}",
        )
    return drawing.render()


def _dates(drawing: Drawing, axes: Axes, shown: Sequence[Record]) -> None:
    ends = {0: shown[0].at[:10], len(shown) - 1: shown[-1].at[:10]}
    for number, date in ends.items():
        anchor = "start" if number == 0 and len(ends) > 1 else "end"
        place = axes.left if anchor == "start" else axes.right
        drawing.text(place, axes.bottom + 18, date, colour=SOFT, size=11, anchor=anchor)  # type: ignore[arg-type]


def _bounds(series: Series, limits: Limits, today: Record) -> list[tuple[int, float]]:
    """Return the centre and the limits at two and three deviations: (deviations, value)."""
    found: list[tuple[int, float]] = [(0, limits.centre)]
    for far in (-3, -2, 2, 3):
        at = _value_at(series, limits, today, far)
        if at is not None:
            found.append((far, at))
    return found


def _value_at(series: Series, limits: Limits, today: Record, far: int) -> float | None:
    """The value that lies so many deviations from the centre; of a share none beyond 0 and 1."""
    if series.parts is not None:
        _, trials = series.parts(today)
        row = [share_deviations(count, trials, limits.centre) for count in range(trials + 1)]
        beyond = [n for n, value in enumerate(row) if (value <= far if far < 0 else value >= far)]
        if not beyond:
            return None
        return (beyond[-1] + 0.5) / trials if far < 0 else (beyond[0] - 0.5) / trials

    def rising(value: float) -> float:
        return limits.deviations(_with_measure(today, series.name, value)) or 0.0

    return _crossing(rising, limits.centre, far)


def _with_measure(today: Record, name: str, value: float) -> Record:
    return today.model_copy(update={"measures": {**today.measures, name: value}})


def _crossing(rising: Callable[[float], float], centre: float, far: int) -> float:
    """Where a rising function reaches ``far``, found by halving."""
    step = 1.0
    while abs(rising(centre + step * (1 if far > 0 else -1))) < abs(far) and step < 1e6:
        step *= 2
    low, high = (centre, centre + step) if far > 0 else (centre - step, centre)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < far:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    aside = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - aside, high + aside


def _legend() -> str:
    return report.paragraph(
        f"Solid: the mean of the first {LEARNT_FROM} checks. Dotted: two standard deviations from "
        "it, dashed: three, beyond which a check is out of limits (orange). Grey checks are of "
        "another model, camera or program, and are not compared."
    )


def _table(records: Sequence[Record]) -> str:
    rows = []
    for record in reversed(records[-LISTED:]):
        agreement = f"{record.agreed} of {record.compared}" if record.compared else "–"
        rows.append(
            [
                _moment(record),
                f"{record.located} of {record.labelled}",
                agreement,
                *(f"{record.measures.get(name, float('nan')):.1f}" for name in _COLUMNS),
            ]
        )
    return report.table(["UTC", "located", "agreement", *_COLUMNS], rows)


def _unusual(records: Sequence[Record]) -> str:
    found = [(_moment(one), "; ".join(one.warnings)) for one in reversed(records) if one.warnings]
    return report.pairs(found[:LISTED]) if found else report.paragraph("Nothing so far.")


def _moment(record: Record) -> str:
    """When a check was made, as a text that stays on one line."""
    shown = record.at[:16].replace("T", "\N{NO-BREAK SPACE}")
    return shown.replace("-", "\N{NON-BREAKING HYPHEN}")


_COLUMNS: Final = ("white level", "sharpness")
