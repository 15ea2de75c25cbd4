"""Drawings as SVG text, made by hand: no library, no font file, no script.

A drawing has its own pixels as units and scales with the page it stands in; text takes the
page's fonts. Numbers are written with two decimals, so the same figures give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Literal

DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""Line patterns: the second dozen of lines differs from the first by its dashes."""

INK, SOFT, GRID, PALE = "#1b2733", "#5b6b7a", "#e4e8ec", "#f4f6f8"

Anchor = Literal["start", "middle", "end"]


class Drawing:
    """Shapes on a plane of `width` × `height` pixels, the origin at the top left."""

    def __init__(self, width: float, height: float, description: str) -> None:
        """Begin an empty drawing.

        Args:
            width: in pixels.
            height: in pixels.
            description: what it shows, for those who cannot see it.
        """
        self.width, self.height = width, height
        self._description = description
        self._shapes: list[str] = []

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str = GRID,
        *,
        width: float = 1.0,
        dash: str = "",
    ) -> None:
        """Draw a straight line."""
        self.path([start, end], colour, width=width, dash=dash)

    def path(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        *,
        width: float = 1.8,
        dash: str = "",
    ) -> None:
        """Draw a line through points."""
        text = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._shapes.append(
            f'<polyline points="{text}" fill="none" stroke="{colour}" '
            f'stroke-width="{_number(width)}" stroke-linejoin="round"{dashes}/>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, *, title: str = ""
    ) -> None:
        """Draw a filled rectangle; `title` shows under a pointer."""
        inside = f"<title>{escape(title)}</title>" if title else ""
        self._shapes.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
            f'height="{_number(height)}" rx="2" fill="{colour}">{inside}</rect>'
        )

    def dot(self, x: float, y: float, radius: float, colour: str, *, title: str = "") -> None:
        """Draw a disc; `title` shows under a pointer."""
        inside = f"<title>{escape(title)}</title>" if title else ""
        self._shapes.append(
            f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" '
            f'fill="{colour}" stroke="#fff">{inside}</circle>'
        )

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        colour: str = INK,
        size: float = 12,
        anchor: Anchor = "start",
        bold: bool = False,
        turned: float = 0,
    ) -> None:
        """Write one line whose baseline begins, is centred or ends at (x, y).

        Args:
            x: in pixels.
            y: of the baseline, in pixels.
            content: any text; it is escaped.
            colour: of the letters.
            size: in pixels.
            anchor: which part of the line stands at x.
            bold: whether the letters are.
            turned: degrees clockwise, around (x, y).
        """
        weight = ' font-weight="600"' if bold else ""
        turn = f' transform="rotate({_number(turned)} {_number(x)} {_number(y)})"' if turned else ""
        self._shapes.append(
            f'<text x="{_number(x)}" y="{_number(y)}" fill="{colour}" font-size="{_number(size)}" '
            f'text-anchor="{anchor}"{weight}{turn}>{escape(content)}</text>'
        )

    def render(self) -> str:
        """Return the drawing as an `<svg>` element that can stand in an HTML page."""
        size = f"{_number(self.width)} {_number(self.height)}"
        return (
            f'<svg viewBox="0 0 {size}" role="img" '
            f'style="max-width:{_number(self.width)}px" aria-label="{escape(self._description)}">'
            + "".join(self._shapes)
            + "</svg>"
        )


class Axes:
    """A rectangle of a drawing in which values are drawn.

    Attributes:
        left: left edge in pixels; likewise `right`, `top` and `bottom`.
    """

    def __init__(
        self,
        drawing: Drawing,
        frame: tuple[float, float, float, float],
        horizontal: tuple[float, float],
        vertical: tuple[float, float],
    ) -> None:
        """Lay axes into a drawing.

        Args:
            drawing: to draw in.
            frame: left, top, right and bottom edge in pixels.
            horizontal: least and greatest value of the x axis; they differ.
            vertical: the same of the y axis.
        """
        self._drawing = drawing
        self.left, self.top, self.right, self.bottom = frame
        self._horizontal, self._vertical = horizontal, vertical

    def x(self, value: float) -> float:
        """Where a value of the x axis stands, in pixels."""
        low, high = self._horizontal
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value of the y axis stands, in pixels."""
        low, high = self._vertical
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def grid(self, across: Sequence[float], up: Sequence[float], *, percent: bool = False) -> None:
        """Draw grid lines with their values, in percent if asked."""
        for value in across:
            place = self.x(value)
            self._drawing.line((place, self.top), (place, self.bottom))
            label = _label(value, percent=percent)
            self._drawing.text(
                place, self.bottom + 16, label, colour=SOFT, size=11, anchor="middle"
            )
        for value in up:
            place = self.y(value)
            self._drawing.line((self.left, place), (self.right, place))
            label = _label(value, percent=percent)
            self._drawing.text(self.left - 7, place + 4, label, colour=SOFT, size=11, anchor="end")

    def names(self, across: str, up: str) -> None:
        """Write what the axes show."""
        middle = (self.left + self.right) / 2
        self._drawing.text(middle, self.bottom + 35, across, colour=SOFT, anchor="middle")
        middle = (self.top + self.bottom) / 2
        self._drawing.text(self.left - 42, middle, up, colour=SOFT, anchor="middle", turned=-90)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from `low` to `high`, at most about `most` of them."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def text_width(content: str, size: float = 12) -> float:
    """Return about how wide a line will be, in pixels: enough room for usual fonts."""
    wide = sum(1.0 if ord(c) > 0x2E7F else 0.72 if c.isupper() else 0.58 for c in content)
    return wide * size


def shortened(content: str, letters: int = 24) -> str:
    """Return a name that fits beside a figure."""
    return content if len(content) <= letters else f"{content[: letters - 1]}…"


def _label(value: float, *, percent: bool) -> str:
    return f"{100 * value:.0f} %" if percent else f"{value:g}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
