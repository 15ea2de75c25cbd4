"""Where the integer graph's ranges come from: whoever calls, behind a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from qlvit_edge.errors import CalibrationError

Range = tuple[float, float]
"""Smallest and largest real value."""

NO_RANGE = "tensor has no range"
NO_ANCHOR = "softmax has no anchor"

_Value = TypeVar("_Value")


class Scales(Protocol):
    """What calibration found out, tensor by tensor."""

    def range(self, name: str) -> Range:
        """Return the range of an activation.

        Raises:
            CalibrationError: there is none of that name.
        """

    def anchor(self, name: str) -> int:
        """Return the largest level that a ``fast`` softmax keeps (0 … 8).

        Raises:
            CalibrationError: there is none of that name.
        """


class CalibratedScales(Scales, Protocol):
    """Scales that know what they were found on."""

    @property
    def images(self) -> Mapping[str, str]:
        """Relative name → SHA-256 of the calibration images."""


@dataclass(frozen=True)
class ScaleTable:
    """Scales from two tables.

    Attributes:
        ranges: by tensor name.
        anchors: by softmax name.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    anchors: Mapping[str, int] = field(default_factory=dict)

    def range(self, name: str) -> Range:
        """See :class:`Scales`."""
        return look_up(self.ranges, name, NO_RANGE)

    def anchor(self, name: str) -> int:
        """See :class:`Scales`."""
        return look_up(self.anchors, name, NO_ANCHOR)


class ScaleRequests:
    """Records what a graph asks for; every question has the same stand-in for an answer.

    For what does not depend on values: which ranges are needed, how many operations there are.

    Attributes:
        ranges: tensors whose range was asked for, in order, without repetition.
        anchors: softmaxes whose anchor was.
    """

    def __init__(self, extent: Range = (0.0, 1.0), level: int = 0) -> None:
        """Answer `extent` for every range and `level` for every anchor."""
        self._extent = extent
        self._level = level
        self._ranges: dict[str, None] = {}
        self._anchors: dict[str, None] = {}

    @property
    def ranges(self) -> list[str]:
        """See the class's text."""
        return list(self._ranges)

    @property
    def anchors(self) -> list[str]:
        """See the class's text."""
        return list(self._anchors)

    def range(self, name: str) -> Range:
        """See :class:`Scales`."""
        self._ranges[name] = None
        return self._extent

    def anchor(self, name: str) -> int:
        """See :class:`Scales`."""
        self._anchors[name] = None
        return self._level


def look_up(values: Mapping[str, _Value], name: str, finding: str) -> _Value:
    """Return a value by name.

    Raises:
        CalibrationError: with `finding`, where there is none.
    """
    if name not in values:
        raise CalibrationError(name, finding, "calibrate this network again")
    return values[name]
