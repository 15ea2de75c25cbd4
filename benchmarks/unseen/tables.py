"""Tables and figure of `unseen_microscope.py`: medians and ranges over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.evaluation.plots import plot_risk_coverage

Row = dict[str, Any]
RECIPE = "as it is"
"""The training that nothing was changed in."""


def select(rows: Iterable[Row], **values: object) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Write percentages as median and range."""
    if not values:
        return "–"
    shown = f"{100 * float(np.median(values)):{'+' if signed else ''}.1f}"
    if len(values) == 1:
        return shown
    return f"{shown} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def distinct(rows: Iterable[Row], *names: str) -> list[tuple[Any, ...]]:
    """Return the distinct values of some columns, in order."""
    return list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))


def main_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of microscopes: what is left out, and how it is answered."""
    yield "| trained without | scored on | view | macro recall | re-estimated statistics |"
    yield "|---|---|---|---|---|"
    own = select(rows, change=RECIPE)
    for left_out, microscope, view in distinct(own, "left_out", "microscope", "view"):
        of = select(own, left_out=left_out, microscope=microscope, view=view)
        cells = [
            spread([row["macro_recall"] for row in select(of, statistics=statistics)])
            for statistics in ("trained", "re-estimated")
        ]
        name = microscope if of[0]["unseen"] else f"{microscope} (held-out sources)"
        yield f"| {left_out} | {name} | {view} | {cells[0]} | {cells[1]} |"


def risk_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of risks, by what share of the cells is answered."""
    own = select(rows, change=RECIPE, statistics="trained")
    shares = list(own[0]["risk_at"]) if own else []
    titles = " | ".join(f"{float(share):.0%}" for share in shares)
    yield (
        f"| trained without | scored on | view | wrong of the surest {titles} | mean | accepted | "
        "accepted and wrong | unknown cells accepted |"
    )
    yield "|---|---|---|" + "---|" * (len(shares) + 4)
    for left_out, microscope, view in distinct(own, "left_out", "microscope", "view"):
        of = select(own, left_out=left_out, microscope=microscope, view=view)
        risks = [spread([row["risk_at"][share] for row in of]) for share in shares]
        figures = [
            spread([row[name] for row in of if row[name] is not None])
            for name in ("risk_area", "accepted", "accepted_wrong", "unknown_accepted")
        ]
        yield f"| {left_out} | {microscope} | {view} | " + " | ".join([*risks, *figures]) + " |"


def change_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of changes: macro recall on unseen microscopes, the mean."""
    unseen = select(rows, unseen=True)
    columns: list[tuple[str, Callable[[Row], bool]]] = [
        (f"{view}, {statistics}", _is(view, statistics))
        for view, statistics in distinct(unseen, "view", "statistics")
    ]
    yield "| change | " + " | ".join(title for title, _ in columns) + " | mean | difference |"
    yield "|---|" + "---|" * (len(columns) + 2)
    base = _by_seed(select(unseen, change=RECIPE))
    for (change,) in distinct(unseen, "change"):
        of = select(unseen, change=change)
        cells = [spread(list(_by_seed(filter(chosen, of)).values())) for _, chosen in columns]
        means = _by_seed(of)
        against = [means[seed] - base[seed] for seed in means if seed in base]
        cells += [
            spread(list(means.values())),
            "" if change == RECIPE else spread(against, signed=True),
        ]
        yield f"| {change} | " + " | ".join(cells) + " |"


def _is(view: str, statistics: str) -> Callable[[Row], bool]:
    return lambda row: (row["view"], row["statistics"]) == (view, statistics)


def _by_seed(rows: Iterable[Row]) -> dict[int, float]:
    """Return each seed's mean macro recall over what is left out, scored and looked at."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(row["macro_recall"])
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the risk-coverage curves of unseen microscopes, crops, the median over the seeds."""
    own = select(rows, change=RECIPE, statistics="trained", view="cell crop", unseen=True)
    curves = {}
    for left_out, microscope in distinct(own, "left_out", "microscope"):
        of = select(own, left_out=left_out, microscope=microscope)
        risk = np.median([row["curve"] for row in of], axis=0)
        coverage = np.linspace(1 / len(risk), 1, len(risk))
        curves[f"{microscope}, trained without {left_out}"] = (coverage, risk)
    plot_risk_coverage(curves, path)
