"""What `explain` leaves: pictures with maps over them, one page, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.evaluation import report
from qlvit_edge.evaluation.overlay import (
    Pixels,
    jpeg,
    overlay,
    png,
    shown_size,
    side_by_side,
    smaller,
)
from qlvit_edge.palette import HEAT
from qlvit_edge.preprocess import resize
from qlvit_edge.text import RESEARCH_ONLY

MOST_ON_PAGE = 200
"""Entries on the page, so that a browser opens it; pictures and JSON hold all."""

_HOW = (
    "Bright and yellow: what speaks most for the class, in this image. Clear: what speaks least "
    "for it. The line runs at half of the way. A map says where the network looked, not whether "
    "it was right; its positions are large, and each sees beyond its edge."
)

_SCALE = (
    '<p><span role="img" aria-label="colours from least to most" style="display:inline-block;'
    "width:min(20rem,60%);height:.9rem;border-radius:4px;vertical-align:middle;"
    f'background:linear-gradient(to right,{",".join(HEAT)})"></span> least to most</p>'
)


@dataclass(frozen=True)
class Panel:
    """One answer and one map.

    Attributes:
        source: what answered, such as ``"integer file"``.
        method: how the map was made, such as ``"class map"``.
        label: the answered class.
        probability: its probability.
        shown: the class whose map it is.
        positions: (h, w).
        input_size: (height, width) of the network's input.
        verdict: on the answer; None where nothing judges it.
        reason: why it is not accepted.
        noise: a map that differs by no more is even.
    """

    source: str
    method: str
    label: str
    probability: float
    shown: str
    positions: NDArray[np.float64]
    input_size: tuple[int, int]
    verdict: str | None = None
    reason: str | None = None
    noise: float = 0.0

    @property
    def even(self) -> bool:
        """Whether no position speaks more for the class than another."""
        return not float(np.ptp(self.positions)) > self.noise

    @property
    def answer(self) -> str:
        """The answer in words."""
        verdict = "" if self.verdict is None else f", {self.verdict}"
        reason = "" if self.reason is None or self.verdict == "uncertain" else f": {self.reason}"
        return f"{self.label} {self.probability:.1%}{verdict}{reason}"

    def drawn(self, pixels: Pixels) -> Pixels:
        """Return the map over the image that was shown."""
        return overlay(pixels, self.positions, self.input_size, self.noise)


@dataclass(frozen=True)
class Entry:
    """One image, or one cell of it.

    Attributes:
        file: its path, as it was named.
        number: of the cell in its image, from 1; None for a whole image.
        panels: what was said of it; empty where it could not be read or shows no cell.
        error: why there are none.
        damaged: whether it could not be read.
        picture: name of its PNG.
        cards: JPEGs of the image and of each panel, for the page.
        box: (x, y, width, height) of the cell.
    """

    file: Path
    number: int | None
    panels: tuple[Panel, ...]
    error: str | None = None
    damaged: bool = False
    picture: str | None = None
    cards: tuple[bytes, ...] = field(default=(), repr=False)
    box: tuple[int, int, int, int] | None = None

    @property
    def title(self) -> str:
        """The image, and the cell in it."""
        return f"{self.file}{'' if self.number is None else f', cell {self.number}'}"

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        sides = dict(zip(("x", "y", "width", "height"), self.box or (), strict=False))
        return {
            "file": str(self.file),
            "cell": self.number,
            "box": sides or None,
            "error": self.error,
            "picture": self.picture,
            "answers": [_record(panel) for panel in self.panels],
        }


def _record(panel: Panel) -> dict[str, object]:
    return {
        "of": panel.source,
        "method": panel.method,
        "label": panel.label,
        "probability": panel.probability,
        "verdict": panel.verdict,
        "reason": panel.reason,
        "class": panel.shown,
        "even": panel.even,
        "map": panel.positions.round(6).tolist(),
    }


def picture(pixels: Pixels, panels: Sequence[Panel]) -> bytes:
    """Return a PNG of an image, and beside it of each map over it."""
    small = resize(pixels, shown_size(pixels))
    return png(side_by_side([small, *(panel.drawn(pixels) for panel in panels)]))


def cards(pixels: Pixels, panels: Sequence[Panel]) -> tuple[bytes, ...]:
    """Return small JPEGs of an image and of each map over it."""
    small = smaller(pixels)
    return tuple(map(jpeg, (small, *(panel.drawn(small) for panel in panels))))


def page(name: str, entries: Sequence[Entry], sources: str) -> str:
    """Return the page.

    Args:
        name: of the model or run.
        entries: all of them.
        sources: what answered, with hashes, for the last line.
    """
    explained = [entry for entry in entries if entry.panels]
    unread = [(entry.title, entry.error or "") for entry in entries if not entry.panels]
    shown = explained[:MOST_ON_PAGE]
    left_out = len(explained) - len(shown)
    lead = f"{len(explained)} of {len(entries)} explained"
    if left_out:
        lead += f"; the first {len(shown)} are shown here, the other pictures lie beside this page"
    return report.page(
        f"Where {name} finds its classes",
        lead,
        [
            report.notice(RESEARCH_ONLY),
            report.section(
                "How to read the maps",
                report.paragraph(_HOW),
                _SCALE,
            ),
            report.section("Not explained", report.pairs(unread)) if unread else "",
            *map(_section, shown),
            report.footer(sources),
        ],
    )


def _section(entry: Entry) -> str:
    captions = [("as shown", entry.picture or "")]
    for panel in entry.panels:
        below = ", the same everywhere" if panel.even else ""
        captions.append(
            (f"{panel.source}: {panel.answer}", f"{panel.method} of {panel.shown}{below}")
        )
    figures = [(jpeg, *caption) for jpeg, caption in zip(entry.cards, captions, strict=True)]
    return report.section(entry.title, report.cards(figures))
