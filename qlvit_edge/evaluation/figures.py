"""The figures of a validation report, as SVG: confusion, ROC, reliability, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qlvit_edge.evaluation import metrics
from qlvit_edge.evaluation.guarding import RiskPoint
from qlvit_edge.evaluation.svg import (
    DASHES,
    INK,
    PALE,
    SOFT,
    Axes,
    Drawing,
    shortened,
    text_width,
    ticks,
)
from qlvit_edge.palette import COLOURS

_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_CURVE_POINTS = 400


def confusion(counts: NDArray[np.int64], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Draw a confusion matrix: counts, coloured by the share of the row.

    Args:
        counts: (rows, columns) images; rows are the truth, columns the answers.
        rows: names of the true classes.
        columns: names of the answers.
    """
    left_names = [shortened(name) for name in rows]
    top_names = [shortened(name) for name in columns]
    side = 62 if len(columns) <= 5 else 48 if len(columns) <= 8 else 40
    left = 30 + max(text_width(name) for name in left_names)
    longest = max(text_width(name) for name in top_names)
    top = 50 + 0.62 * longest
    width = left + side * len(columns) + max(14.0, 0.78 * text_width(top_names[-1]) - side / 2)
    drawing = Drawing(
        width,
        top + side * len(rows) + 10,
        "Confusion matrix: one row per true class, one column per answer. The counts are in "
        "the table of report.json.",
    )
    drawing.text(0, 16, "Confusion matrix", size=14, bold=True)
    drawing.text(0, 34, "rows: true class, columns: answer", size=11, colour=SOFT)
    for column, name in enumerate(top_names):
        place = left + side * (column + 0.5)
        drawing.text(place, top - 8, name, colour=SOFT, turned=-38)
    for row, name in enumerate(left_names):
        place = top + side * (row + 0.5)
        drawing.text(left - 10, place + 4, name, colour=SOFT, anchor="end")
        total = max(1, int(counts[row].sum()))
        for column in range(len(columns)):
            number = int(counts[row, column])
            title = f"{rows[row]}, answered {columns[column]}: {number} of {int(counts[row].sum())}"
            _cell(
                drawing,
                (left + side * column, top + side * row, side),
                number,
                number / total,
                title=title,
                right=rows[row] == columns[column],
            )
    return drawing.render()


def _cell(
    drawing: Drawing,
    place: tuple[float, float, float],
    number: int,
    share: float,
    *,
    title: str,
    right: bool,
) -> None:
    """Draw one field of the matrix: blue where the answer is right, orange where it is not."""
    x, y, side = place
    full = np.array((0, 114, 178) if right else (213, 94, 0), np.float64)
    weight = share**0.7 if number else 0.0
    shade = np.round(weight * full + (1 - weight) * np.array((244, 246, 248)))
    colour = "#" + "".join(f"{int(part):02x}" for part in shade)
    drawing.box(x + 1, y + 1, side - 2, side - 2, colour if number else PALE, title=title)
    dark = weight > 0.62
    ink = "#ffffff" if dark else INK if number else "#b3bdc6"
    large = side > 45
    middle = x + side / 2
    drawing.text(
        middle,
        y + side / 2 + (0 if number and large else 5),
        str(number),
        colour=ink,
        size=14 if large else 11,
        anchor="middle",
        bold=bool(number),
    )
    if number and large:
        drawing.text(
            middle,
            y + side / 2 + 16,
            f"{100 * share:.1f} %",
            colour=ink,
            size=10.5,
            anchor="middle",
        )


def roc(truth: ArrayLike, scores: ArrayLike, labels: Sequence[str]) -> str:
    """Draw every class's ROC curve against the rest, with its area in the legend.

    Args:
        truth: (N,) labels.
        scores: (N, classes).
        labels: class names; classes without own or other images have no curve.
    """
    known, table = np.asarray(truth), np.asarray(scores)
    curves = []
    for index, label in enumerate(labels):
        own = known == index
        if own.any() and not own.all():
            curves.append((label, _line_style(index), own, table[:, index]))
    rows = 18 * len(curves)
    drawing = Drawing(392, 400 + rows, "ROC curves of one class against the rest.")
    drawing.text(0, 16, "ROC, one class against the rest", size=14, bold=True)
    axes = Axes(drawing, (58, 34, 370, 346), (0, 1), (0, 1))
    axes.grid(_FIFTHS, _FIFTHS, percent=True)
    axes.names("false positive rate", "true positive rate")
    drawing.line((axes.x(0), axes.y(0)), (axes.x(1), axes.y(1)), "#b3bdc6", dash="4 4")
    for number, (label, (colour, dash), own, values) in enumerate(curves):
        false, true = metrics.roc_curve(own, values)
        keep = _thinned(len(false))
        points = [(axes.x(false[i]), axes.y(true[i])) for i in keep]
        drawing.path(points, colour, dash=dash, width=2)
        y = 404 + 18 * number
        drawing.line((58, y - 4), (82, y - 4), colour, width=2.5, dash=dash)
        area = f"area {metrics.auc(own, values):.4f}"
        drawing.text(90, y, shortened(label))
        drawing.text(370, y, area, anchor="end", colour=SOFT)
    if not curves:
        drawing.text(214, 190, "needs images of two classes", anchor="middle", colour=SOFT)
    return drawing.render()


def _thinned(count: int) -> list[int]:
    """Numbers of the points of a curve that are drawn, with both ends."""
    if count <= _MOST_CURVE_POINTS:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(0, count - 1, _MOST_CURVE_POINTS)})


def _line_style(number: int) -> tuple[str, str]:
    """Colour and dashes of a class, by its number among the labels."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def reliability(bins: Sequence[metrics.ReliabilityBin], error: float | None) -> str:
    """Draw how often the answers of each probability are right, above how many there are.

    Args:
        bins: from `metrics.reliability`.
        error: the expected calibration error, 0 to 1; None without answers.
    """
    shown = "–" if error is None else f"{100 * error:.1f} %"
    drawing = Drawing(
        392,
        460,
        "Reliability: share of right answers over the probability that the model gave.",
    )
    drawing.text(0, 16, "Reliability", size=14, bold=True)
    drawing.text(
        370, 16, f"mean distance from the diagonal {shown}", size=11, colour=SOFT, anchor="end"
    )
    axes = Axes(drawing, (58, 34, 370, 310), (0, 1), (0, 1))
    axes.grid(_FIFTHS, _FIFTHS, percent=True)
    axes.names("", "right answers")
    drawing.line((axes.x(0), axes.y(0)), (axes.x(1), axes.y(1)), "#b3bdc6", dash="4 4")
    points = []
    for entry in bins:
        if entry.share_right is None or entry.mean_probability is None:
            continue
        points.append((axes.x(entry.mean_probability), axes.y(entry.share_right)))
    drawing.path(points, COLOURS[0], width=2)
    most = max((entry.answers for entry in bins), default=0)
    below = Axes(drawing, (58, 342, 370, 412), (0, 1), (0, max(1, most)))
    drawing.line((58, 412), (370, 412), "#b3bdc6")
    for entry in bins:
        left, right = below.x(entry.low) + 1, below.x(entry.high) - 1
        top = below.y(entry.answers)
        title = f"{entry.low:.0%} to {entry.high:.0%}: {entry.answers} answers"
        drawing.box(left, top, right - left, below.bottom - top, "#9ecae1", title=title)
        if entry.answers:
            drawing.text(
                (left + right) / 2,
                top - 3,
                str(entry.answers),
                size=9,
                colour=SOFT,
                anchor="middle",
            )
    for entry, place in zip([b for b in bins if b.answers], points, strict=True):
        title = f"{entry.answers} answers: {entry.share_right:.1%} right"
        drawing.dot(*place, 4.5, COLOURS[0], title=title)
    for value in _FIFTHS:
        label = f"{100 * value:.0f} %"
        drawing.text(below.x(value), 428, label, size=11, colour=SOFT, anchor="middle")
    drawing.text(
        214, 449, "probability of the answer; bars: number of answers", colour=SOFT, anchor="middle"
    )
    return drawing.render()


def risk_coverage(points: Sequence[RiskPoint], accepted: float) -> str:
    """Draw which share of the most trusted answers is wrong, over how many these are.

    Args:
        points: from `guarding.risk_coverage`.
        accepted: share of the answers that is accepted, 0 to 1.
    """
    most = max((point.risk for point in points), default=0.0)
    top = next((level for level in (0.05, 0.1, 0.2, 0.5) if most <= level), 1.0)
    drawing = Drawing(
        392, 400, "Risk by coverage: share of wrong answers among the most trusted ones."
    )
    drawing.text(0, 16, "Risk by coverage", size=14, bold=True)
    drawing.text(370, 16, f"accepted: {accepted:.1%}", size=11, colour=SOFT, anchor="end")
    axes = Axes(drawing, (58, 34, 370, 346), (0, 1), (0, top))
    axes.grid(_FIFTHS, [top * share for share in _FIFTHS], percent=True)
    axes.names("coverage: share of all answers", "risk: wrong ones among them")
    drawing.line((axes.x(accepted), axes.y(0)), (axes.x(accepted), axes.y(top)), SOFT, dash="4 4")
    places = [(axes.x(point.coverage), axes.y(point.risk)) for point in points]
    drawing.path(places, COLOURS[0], width=2)
    return drawing.render()


def histogram(values: ArrayLike, *, title: str, unit: str, marks: Mapping[str, float]) -> str:
    """Draw a histogram with vertical marks (percentiles, say).

    Args:
        values: (N,) numbers, N ≥ 1.
        title: what is shown.
        unit: of the values.
        marks: name → value of the lines to draw.
    """
    numbers = np.asarray(values, np.float64)
    # A few stalls must not squeeze everything else into one bar.
    most = float(np.percentile(numbers, 99.5))
    shown = numbers[numbers <= most] if (numbers <= most).any() else numbers
    hidden = len(numbers) - len(shown)
    counts, edges = np.histogram(shown, bins=min(50, max(8, len(shown) // 8)))
    inside = {name: value for name, value in marks.items() if value <= edges[-1]}
    drawing = Drawing(640, 290, f"Histogram: {title}.")
    drawing.text(0, 16, title, size=14, bold=True)
    axes = Axes(
        drawing, (58, 46, 630, 236), (float(edges[0]), float(edges[-1])), (0, float(counts.max()))
    )
    axes.grid(ticks(edges[0], edges[-1], 8), ticks(0, float(counts.max()), 4))
    axes.names(f"{unit} ({hidden} above {most:.3g} not shown)" if hidden else unit, "inferences")
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        left, right, top = axes.x(low) + 0.5, axes.x(high) - 0.5, axes.y(count)
        drawing.box(
            left,
            top,
            max(0.5, right - left),
            axes.bottom - top,
            "#9ecae1",
            title=f"{low:.3g} to {high:.3g} {unit}: {count}",
        )
    x = 630.0
    for number, (name, value) in reversed(list(enumerate(marks.items(), start=1))):
        colour = COLOURS[number % len(COLOURS)]
        label = f"{name} {value:.3g} {unit}"
        drawing.text(x, 16, label, anchor="end", colour=colour, bold=True)
        x -= text_width(label) + 16
        if name in inside:
            place = axes.x(value)
            drawing.line((place, axes.top - 8), (place, axes.bottom), colour, width=1.8)
    return drawing.render()
