"""In what state the device is while something is measured on it: heat, throttling, other programs.

A latency is that of an idle, cool processor with all its clock, or it is not this device's. What
the device does not tell is None, never a good value.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.sensors import (
    SINCE_START,
    slowed_cores,
    temperature,
    throttled_file,
    throttling_bits,
    words_of,
)
from qlvit_edge.text import plain

BUSY = 0.25
"""Cores that other programs take, from which on a device counts as busy."""

_NAMED = 3
_LEAST_SHARE = 0.02
_IDLE, _WAITING = 3, 4
_COUNTED = 8
"""The first figures of a line of /proc/stat; guests' time is in the user's already."""


@dataclass(frozen=True)
class Conditions:
    """The state of a device while something was measured; None is what it does not tell.

    Attributes:
        seconds: how long it was watched.
        temperature_c: the higher one of before and after, degrees Celsius.
        held_back: what held the processor back before, after or between, in words.
        held_back_earlier: what did so since the device was started, but not meanwhile.
        others_cores: how many cores other programs took, in the mean.
        busiest: names of those that took most.
    """

    seconds: float
    temperature_c: float | None
    held_back: tuple[str, ...] | None
    held_back_earlier: tuple[str, ...]
    others_cores: float | None
    busiest: tuple[str, ...]

    @property
    def busy(self) -> bool:
        """Whether other programs took so much that times are not those of this device."""
        return self.others_cores is not None and self.others_cores >= BUSY


@dataclass(frozen=True)
class _Moment:
    """What the device tells at one moment.

    Attributes:
        seconds: of a clock that is never set.
        temperature_c: of the hottest sensor.
        bits: of a Raspberry Pi's firmware.
        slowed: of x86's kernel.
        busy: ticks in which a core did something.
        own: ticks of this process and its children.
        programs: process → name and its ticks; without this process and its children.
    """

    seconds: float
    temperature_c: float | None
    bits: int | None
    slowed: int | None
    busy: int | None
    own: int
    programs: dict[int, tuple[str, int]]


class Watch:
    """Looks at the device from its making on until `end`."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Begin.

        Args:
            root: where `proc` and `sys` are.
        """
        self._root = root
        self._begun = _look(root)

    def end(self) -> Conditions:
        """Return the state of the device since the beginning."""
        begun, ended = self._begun, _look(self._root)
        seconds = max(ended.seconds - begun.seconds, 1e-3)
        ticks = seconds * os.sysconf("SC_CLK_TCK")
        others = None
        if begun.busy is not None and ended.busy is not None:
            others = max(0.0, (ended.busy - begun.busy - (ended.own - begun.own)) / ticks)
        heat = [own for own in (begun.temperature_c, ended.temperature_c) if own is not None]
        held_back, earlier = _held_back(begun, ended)
        return Conditions(
            seconds=seconds,
            temperature_c=max(heat, default=None),
            held_back=held_back,
            held_back_earlier=earlier,
            others_cores=others,
            busiest=_busiest(begun.programs, ended.programs, ticks),
        )


def _look(root: Path) -> _Moment:
    programs, parents = _programs(root / "proc")
    family = _family(os.getpid(), parents)
    gone = os.times()
    per_second = os.sysconf("SC_CLK_TCK")
    own = sum(ticks for number, (_, ticks) in programs.items() if number in family)
    own += int((gone.children_user + gone.children_system) * per_second)
    return _Moment(
        seconds=time.monotonic(),
        temperature_c=temperature(root / "sys/class/thermal"),
        bits=throttling_bits(throttled_file(root)),
        slowed=slowed_cores(root),
        busy=_busy_ticks(root / "proc/stat"),
        own=own,
        programs={number: one for number, one in programs.items() if number not in family},
    )


def _busy_ticks(file: Path) -> int | None:
    """Ticks in which any core did something, since the start; None where that is hidden."""
    try:
        name, *texts = file.read_text(encoding="ascii").split("\n", 1)[0].split()
        figures = [int(text) for text in texts[:_COUNTED]]
    except (OSError, ValueError):
        return None
    if name != "cpu" or len(figures) <= _WAITING:
        return None
    return sum(figures) - figures[_IDLE] - figures[_WAITING]


def _programs(folder: Path) -> tuple[dict[int, tuple[str, int]], dict[int, int]]:
    """Return process → (name, ticks) and process → its parent."""
    found, parents = {}, {}
    for file in folder.glob("[0-9]*/stat"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
            name = text[text.index("(") + 1 : text.rindex(")")]
            fields = text[text.rindex(")") + 1 :].split()
            number = int(file.parent.name)
            parents[number] = int(fields[1])
            found[number] = (name, int(fields[11]) + int(fields[12]))
        except (OSError, ValueError, IndexError):  # ended meanwhile
            continue
    return found, parents


def _family(ancestor: int, parents: dict[int, int]) -> set[int]:
    """Return a process and all that it started, themselves or by others."""
    family = {ancestor}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _held_back(begun: _Moment, ended: _Moment) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return what held the processor back meanwhile, and what did only before that."""
    if begun.bits is not None and ended.bits is not None:
        first, last = begun.bits >> SINCE_START, ended.bits >> SINCE_START
        meanwhile = words_of(begun.bits | ended.bits | last & ~first)
        return tuple(meanwhile), tuple(one for one in words_of(last) if one not in meanwhile)
    if begun.slowed is not None and ended.slowed is not None:
        slowed = ("a core slowed down by heat",)
        if ended.slowed > begun.slowed:
            return slowed, ()
        return (), slowed if ended.slowed else ()
    return None, ()


def _busiest(
    begun: dict[int, tuple[str, int]], ended: dict[int, tuple[str, int]], ticks: float
) -> tuple[str, ...]:
    """Name the programs that took most, if they took anything to speak of."""
    taken = {
        number: (now - begun.get(number, (name, 0))[1], name)
        for number, (name, now) in ended.items()
    }
    most = sorted(taken.values(), reverse=True)[:_NAMED]
    return tuple(
        dict.fromkeys(plain(name) for spent, name in most if spent >= _LEAST_SHARE * ticks)
    )
