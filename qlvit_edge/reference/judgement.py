"""Whether today's check is as usual: what broke a limit, and what is not the same any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qlvit_edge.reference.checking import homogeneity
from qlvit_edge.reference.history import Record, of_the_same
from qlvit_edge.reference.limits import LEARNT_FROM, SERIES, broken_rules, learnt
from qlvit_edge.text import counted, plain

LEAST_PROBABILITY: Final = 0.0027
"""Below it two differentials of one slide differ: what lies beyond three standard deviations."""

_PARTS: Final = {
    "reference": "the reference set",
    "model_sha256": "the model",
    "program": "the program",
    "runtime": "the runtime",
    "kernels": "the kernels",
    "camera": "the camera",
    "calibration": "the camera's calibration",
}


@dataclass(frozen=True)
class Deviation:
    """Something that is not as usual.

    Attributes:
        text: what.
        remedy: what to do.
        outside: whether a limit is broken, so that the check is not learnt from.
        series: whose limit that is; "" where it is that of none.
    """

    text: str
    remedy: str
    outside: bool = False
    series: str = ""


@dataclass(frozen=True)
class Judgement:
    """What today's check is worth.

    Attributes:
        warnings: what is not as usual; empty where all is.
        learnt: checks that the limits were learnt from, at most `LEARNT_FROM`.
        probability: that two differentials of one slide differ as much as the camera's and that of
            the fields; None where no camera was used, or with too few cells.
        first: the first check that today's is held against; None: it is the first itself.
    """

    warnings: tuple[Deviation, ...]
    learnt: int
    probability: float | None
    first: Record | None

    def noted(self, today: Record) -> Record:
        """Return today's check with what was found of it."""
        return today.model_copy(
            update={
                "warnings": [plain(one.text) for one in self.warnings],
                "outside": any(one.outside for one in self.warnings),
                "broken": sorted({one.series for one in self.warnings if one.series}),
            }
        )

    @property
    def is_learning(self) -> bool:
        """Whether the limits still are provisional."""
        return self.learnt < LEARNT_FROM


def judge(records: Sequence[Record], today: Record) -> Judgement:
    """Hold today's check against the earlier ones.

    Args:
        records: all of the history, oldest first.
        today: the new one, not among them.
    """
    same = of_the_same(records, today)
    usable = [record for record in same if not record.outside]
    probability = _of_two_differentials(today)
    warnings = [
        *_changes(records, today),
        *_other_answers(usable, today),
        *_out_of_limits(same, today),
    ]
    if probability is not None and probability < LEAST_PROBABILITY:
        text = (
            f"the differential under the camera is not that of the stored fields (p = "
            f"{probability:.4f}, chi-squared)"
        )
        remedy = "look at light, white balance, focus and stain; is it the reference slide?"
        warnings.append(Deviation(text, remedy, outside=True))
    first = usable[0] if usable else None
    return Judgement(tuple(warnings), min(len(usable), LEARNT_FROM), probability, first)


def _changes(records: Sequence[Record], today: Record) -> list[Deviation]:
    """What is another than at the last check of this kind."""
    before = [record for record in records if bool(record.camera) == bool(today.camera)]
    if not before or today.begins:
        return []
    last = before[-1]
    found = []
    for name, words in _PARTS.items():
        was, now = getattr(last, name), getattr(today, name)
        # Other kernels are part of another model.
        told = name == "kernels" and last.model_sha256 != today.model_sha256
        if was != now and not told:
            text = f"{words} changed: {_short(was)} before, {_short(now)} now"
            remedy = "limits are learnt anew from here; was it meant?"
            found.append(Deviation(text, remedy))
    return found


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value or "none"


def _other_answers(usable: Sequence[Record], today: Record) -> list[Deviation]:
    """The same pictures, model and kernels must give the same answers, every one."""
    if not usable or usable[0].answers == today.answers:
        return []
    first = usable[0].answers
    others = sum(was != now for was, now in zip(first, today.answers, strict=False))
    text = (
        f"{counted(others, 'answer')} of {len(first)} are others than on {usable[0].at[:10]}, with "
        "the same pictures, model and kernels"
    )
    return [Deviation(text, "qlvit-edge doctor: this device does not compute as it did", True)]


def _out_of_limits(same: Sequence[Record], today: Record) -> list[Deviation]:
    found = []
    for series in SERIES:
        limits = learnt(series, same)
        if limits is None:
            continue
        for rule in broken_rules(limits, same, today):
            remedy = "look at it before today's slides: see docs/reference.md"
            text = f"{series.name}: {rule}"
            found.append(Deviation(text, remedy, outside=True, series=series.name))
    return found


def _of_two_differentials(today: Record) -> float | None:
    if not today.camera:
        return None
    return homogeneity(Counter(today.counts), Counter(today.camera_counts))
