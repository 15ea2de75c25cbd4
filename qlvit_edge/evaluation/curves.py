"""Training curves as SVG: what a history holds, over its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qlvit_edge.evaluation.svg import SOFT, Axes, Drawing, shortened, ticks
from qlvit_edge.palette import COLOURS

LOSS, SHARES = ("loss",), ("accuracy", "recall")
"""Words in the names of what stands in one picture."""

Row = Mapping[str, float]

_LEGEND = 18


def columns(history: Sequence[Row], words: Sequence[str]) -> list[str]:
    """Return the keys of a history that have one of some words in them, as they appear."""
    found = dict.fromkeys(key for row in history for key in row)
    return [key for key in found if any(word in key for word in words)]


def curves(
    history: Sequence[Row], words: Sequence[str], title: str, *, percent: bool, best: int | None
) -> str:
    """Draw some columns of a history over its epochs.

    Args:
        history: one mapping per epoch; `epoch`, if present, is the x axis.
        words: see `columns`.
        title: of the picture.
        percent: whether values are shares.
        best: number of the epoch whose weights are kept; it gets a line. None: not known.
    """
    keys = columns(history, words)
    drawing = Drawing(392, 330 + _LEGEND * len(keys), f"{title} over the epochs of training.")
    drawing.text(0, 16, title, size=14, bold=True)
    lines = [_points(history, key) for key in keys]
    values = [y for points in lines for _, y in points]
    if not values:
        drawing.text(196, 160, "nothing recorded", anchor="middle", colour=SOFT)
        return drawing.render()
    epochs = [x for points in lines for x, _ in points]
    across = (min(epochs), max(max(epochs), min(epochs) + 1))
    low, high = _extent(values, percent=percent)
    axes = Axes(drawing, (58, 34, 370, 270), across, (low, high))
    whole = [value for value in ticks(*across, 8) if value == round(value)]
    axes.grid(whole, [])
    axes.grid([], ticks(low, high, 5), percent=percent)
    axes.names("epoch", "")
    if best is not None:
        place = axes.x(best)
        drawing.line((place, axes.top), (place, axes.bottom), SOFT, dash="4 4")
        drawing.text(370, 16, f"best epoch: {best}", size=11, colour=SOFT, anchor="end")
    for number, (key, points) in enumerate(zip(keys, lines, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        places = [(axes.x(x), axes.y(y)) for x, y in points]
        drawing.path(places, colour, width=2)
        if len(places) < 25:
            for across_at, up_at in places:
                drawing.dot(across_at, up_at, 2.6, colour)
        below = 326 + _LEGEND * number
        drawing.line((58, below - 4), (82, below - 4), colour, width=2.5)
        drawing.text(90, below, shortened(key.replace("_", " "), 40))
    return drawing.render()


def _points(history: Sequence[Row], key: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of the rows that have a finite value."""
    rows = enumerate(history, start=1)
    found = [(row.get("epoch", number), row.get(key, math.nan)) for number, row in rows]
    return [(x, y) for x, y in found if math.isfinite(y)]


def _extent(values: Sequence[float], *, percent: bool) -> tuple[float, float]:
    """Return the ends of the y axis: round values around all there is."""
    low, high = min(values), max(values)
    aside = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    if percent:
        return max(0.0, low - aside), min(1.0, high + aside) if low < 1 else 1.001
    return min(0.0, low - aside) if low < 0 else 0.0, high + aside
