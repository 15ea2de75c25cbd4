"""The table and the plot of `peers.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qlvit_edge.evaluation.svg import INK, SOFT, Axes, Drawing, text_width
from qlvit_edge.palette import COLOURS

UNSEEN = "aml, unseen"
CPUS = {"cortex-a72": "A72", "cortex-a76": "A76"}
Row = Mapping[str, Any]
"""One network: ``name``, ``ours``, ``scores`` by question, ``parameters``, ``macs``, and what of
``images``, ``route``, ``integer``, ``instructions``, ``float_ms``, ``reasons`` is known."""

_FLAT, _NARROW = 3, 12


def score(found: Row | None) -> str:
    """Write a micro and a macro figure with the latter's interval, in percent."""
    if not found:
        return "–"
    low, high = found["interval"]
    return (
        f"{100 * found['micro']:.1f}; {100 * found['macro']:.1f} "
        f"({100 * low:.1f} to {100 * high:.1f})"
    )


def accuracy_table(rows: Sequence[Row], questions: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table of answers: micro; macro with its interval."""
    heads = ["network", "images seen", *questions]
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for row in rows:
        cells = [row["name"], str(row["images"])]
        cells += [score(row["scores"].get(question)) for question in questions]
        yield f"| {' | '.join(cells)} |"


def cost_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of costs, and below it why something is missing."""
    heads = [
        *("network", "M parameters", "MMAC", "float32: ms", "× ours", "route", "int8: kB"),
        *("macro recall, unseen: float", "int8"),
        *(f"M instructions, {short}" for short in CPUS.values()),
        "counted",
    ]
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for row in rows:
        integer = row.get("integer", {})
        counted = row.get("instructions", {})
        cells = [
            row["name"],
            f"{row['parameters'] / 1e6:.3f}",
            f"{row['macs'] / 1e6:.1f}",
            *(f"{value:.2f}" for value in row.get("float_ms", ())),
            *(["–"] * (2 - len(row.get("float_ms", ())))),
            row.get("route", "–"),
            f"{integer['bytes'] / 1e3:.0f}" if integer else "–",
            _percent(row["scores"].get(UNSEEN)),
            _percent(integer.get("scores", {}).get(UNSEEN)),
            *(f"{counted[cpu] / 1e6:.1f}" if cpu in counted else "–" for cpu in CPUS),
            row.get("counted", "–"),
        ]
        yield f"| {' | '.join(cells)} |"
    for row in rows:
        for what, reason in row.get("reasons", {}).items():
            yield ""
            yield f"{row['name']}, {what}: {reason}."


def _percent(found: Row | None) -> str:
    return "–" if not found else f"{100 * found['macro']:.1f}"


def front(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Return the names that no other beats: fewer or as many instructions, and as good or better.

    Args:
        points: (instructions, macro recall) by name.
    """
    return {
        name
        for name, (cost, good) in points.items()
        if not any(
            other_cost <= cost and other_good >= good and (other_cost, other_good) != (cost, good)
            for other_cost, other_good in points.values()
        )
    }


def points_of(rows: Sequence[Row], cpu: str) -> dict[str, tuple[float, float]]:
    """Return instructions and macro recall on the unseen microscope, of the file counted."""
    found = {}
    for row in rows:
        of_file = row.get("integer", {}) if row.get("counted") == "int8" else row
        scores = of_file.get("scores", {}).get(UNSEEN)
        if cpu in row.get("instructions", {}) and scores:
            found[row["name"]] = (float(row["instructions"][cpu]), float(scores["macro"]))
    return found


def plot(rows: Sequence[Row], cpu: str) -> str:
    """Return a drawing: instructions, logarithmic, against macro recall; the front is a line."""
    points = points_of(rows, cpu)
    own = {row["name"] for row in rows if row["ours"]}
    drawing = Drawing(760, 430, "instructions of one inference against macro recall")
    if not points:
        return _file(drawing)
    logs = [math.log10(cost) for cost, _ in points.values()]
    recalls = [good for _, good in points.values()]
    across = (math.floor(4 * min(logs)) / 4, math.ceil(4 * max(logs)) / 4 + 0.35)
    up = (math.floor(10 * min(recalls)) / 10, min(1.0, math.ceil(10 * max(recalls) + 0.5) / 10))
    axes = Axes(drawing, (70, 20, 740, 370), across, up)
    _grid(drawing, axes, across, up)
    best = sorted(points[name] for name in front(points))
    drawing.path([(axes.x(math.log10(c)), axes.y(g)) for c, g in best], SOFT, dash="6 3")
    taken: list[tuple[float, float, float]] = []
    for name, (cost, good) in sorted(points.items(), key=lambda entry: entry[1]):
        x, y = axes.x(math.log10(cost)), axes.y(good)
        colour = COLOURS[0] if name in own else COLOURS[1]
        drawing.dot(x, y, 5, colour, title=f"{name}: {cost / 1e6:.1f} million, {good:.1%}")
        _label(drawing, taken, name, x, y, colour if name in own else INK)
    axes.names(
        f"million instructions of one inference, {CPUS[cpu]}", "macro recall, unseen microscope"
    )
    return _file(drawing)


def _file(drawing: Drawing) -> str:
    """Return a drawing as a file of its own: with its namespace, a font and a white ground."""
    head, _, rest = drawing.render().partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    ground = f'<rect width="{drawing.width}" height="{drawing.height}" fill="#fff"/>'
    return f'{head} font-family="sans-serif">{ground}{rest}\n'


def _grid(
    drawing: Drawing, axes: Axes, across: tuple[float, float], up: tuple[float, float]
) -> None:
    steps = round(10 * (up[1] - up[0]))
    axes.grid([], [up[0] + number / 10 for number in range(steps + 1)], percent=True)
    for exponent in range(math.floor(across[0]), math.ceil(across[1]) + 1):
        for factor in (1, 2, 5):
            value = exponent + math.log10(factor)
            if across[0] <= value <= across[1]:
                place = axes.x(value)
                drawing.line((place, axes.top), (place, axes.bottom))
                text = f"{factor * 10.0 ** (exponent - 6):g}"
                drawing.text(place, axes.bottom + 16, text, colour=SOFT, size=11, anchor="middle")


def _label(
    drawing: Drawing,
    taken: list[tuple[float, float, float]],
    name: str,
    x: float,
    y: float,
    colour: str,
) -> None:
    """Write a name beside its dot, moved down or up until it covers no earlier one."""
    width = text_width(name, 11)
    for shift in (0, _NARROW, -_NARROW, 2 * _NARROW, -2 * _NARROW, 3 * _NARROW):
        left, line = x + 9, y + 4 + shift
        if left + width > drawing.width - 5:
            left = x - 9 - width
        if all(
            abs(line - other) >= _NARROW or left > end or left + width < start
            for start, end, other in taken
        ):
            break
    taken.append((left, left + width, line))
    drawing.text(left, line, name, colour=colour, size=11)
