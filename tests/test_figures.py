"""Figures as SVG: well-formed, the same bytes each time, and drawn where the values are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from qlvit_edge.evaluation import figures, metrics
from qlvit_edge.evaluation.svg import Axes, Drawing, ticks
from qlvit_edge.palette import COLOURS

MANY = [f"class <{number}> & a rather long name" for number in range(14)]


def _parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def _texts(text: str) -> list[str]:
    return [node.text or "" for node in _parse(text).iter("text")]


def _numbers(text: str) -> list[float]:
    return [float(value) for value in re.findall(r' (?:x|y|cx|cy|width|height)="([^"%]*)"', text)]


@pytest.mark.parametrize(
    "drawn",
    [
        figures.confusion(np.eye(14, dtype=np.int64) * 900, MANY, MANY),
        figures.confusion(np.ones((3, 4), np.int64), ["a", "b", "c"], ["a", "b", "c", "none"]),
        figures.roc([0, 1, 1, 2], np.eye(4)[:, :3], ["a", "b", "c"]),
        figures.roc([0, 0], np.ones((2, 3)), ["a", "b", "c"]),
        figures.roc(np.arange(14), np.eye(14), MANY),
        figures.reliability(*metrics.reliability([], [])),
        figures.reliability(*metrics.reliability([1.0, 0.0, 0.95], [True, False, False])),
        figures.histogram([1.0] * 400 + [90.0], title="t", unit="ms", marks={"p50": 1.0}),
        figures.histogram([2.0], title="t", unit="ms", marks={"p50": 2.0, "p99": 7.0}),
    ],
)
def test_figures_are_well_formed_and_inside(drawn: str) -> None:
    root = _parse(drawn)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert root.attrib["aria-label"]
    assert all(-0.01 <= value <= max(width, height) for value in _numbers(drawn))
    assert "nan" not in drawn
    assert "inf" not in drawn.replace("inferences", "")


def test_confusion_shows_every_count_and_colours_mistakes_apart() -> None:
    text = figures.confusion(np.array([[7, 3], [0, 5]]), ["A", "B"], ["A", "B"])
    shown = _texts(text)
    for expected in ("7", "70.0 %", "3", "30.0 %", "5", "100.0 %", "0"):
        assert expected in shown
    fills = [node.attrib["fill"] for node in _parse(text).iter("rect")]
    assert len(fills) == 4
    reds = [int(fill[1:3], 16) for fill in fills]
    assert reds[1] > reds[0]
    assert reds[3] == 0


def test_roc_of_perfect_scores_goes_through_the_corner() -> None:
    text = figures.roc([0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]], ["A", "B"])
    assert _texts(text).count("area 1.0000") == 2
    curves = [n for n in _parse(text).iter("polyline") if n.attrib["stroke"] == COLOURS[0]]
    assert "58,34" in curves[0].attrib["points"]


def test_more_classes_than_colours_differ_by_dashes() -> None:
    count = 14
    text = figures.roc(np.arange(count), np.eye(count), MANY)
    styles = {
        (node.attrib["stroke"], node.attrib.get("stroke-dasharray", ""))
        for node in _parse(text).iter("polyline")
        if node.attrib["stroke-width"] == "2"
    }
    assert len(styles) == count


def test_values_stand_where_they_belong() -> None:
    axes = Axes(Drawing(100, 100, "d"), (10, 20, 90, 80), (0, 4), (0, 2))
    assert (axes.x(0), axes.x(4), axes.x(1)) == (10, 90, 30)
    assert (axes.y(0), axes.y(2), axes.y(1)) == (80, 20, 50)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.0123, 0.0125), (3, 900), (0, 7)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in found)


def test_reliability_is_counted_by_hand() -> None:
    chances = [0.95, 0.95, 0.9, 0.55, 0.0]
    bins, error = metrics.reliability(chances, [True, False, True, False, False])
    assert [entry.answers for entry in bins] == [1, 0, 0, 0, 0, 1, 0, 0, 1, 2]
    assert bins[8].mean_probability == pytest.approx(0.9)
    assert bins[9].share_right == 0.5
    assert error == pytest.approx((0 + 0.55 + 0.1 + 2 * 0.45) / 5)
    assert metrics.reliability([], [])[1] is None
