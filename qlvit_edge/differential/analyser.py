"""An analyser's differential, typed in by the operator, against the limits of the count.

Rümke (1985, "The imprecision of the ratio of two percentages observed in differential white blood
cell counts") gave the limits that a share found in so many counted cells allows; they are those of
the binomial distribution. An analyser counts thousands of cells, so its share is taken as known:
inside the limits, the two do not contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qlvit_edge.errors import DataError
from qlvit_edge.text import did_you_mean, folded, number_of, plain
from qlvit_edge.tomlfile import read_toml

SUM_TOLERANCE: Final = 2.0
"""Points by which rounded percentages may miss 100."""

OTHER: Final = "other"
"""What an analyser counts and the model does not know; the rest is compared without it."""

_FORM = 'write percent by class, as "neutrophil=62,lymphocyte=28,…"'
_TOML = "write percent by class below [differential], as: neutrophil = 62"


@dataclass(frozen=True)
class Comparison:
    """One class of an analyser's differential.

    Attributes:
        share: what the analyser says, of what it counts without `other`.
        inside: whether that lies within the limits of the counted share.
    """

    share: float
    inside: bool


@dataclass(frozen=True)
class Analyser:
    """An analyser's differential in the model's classes.

    Attributes:
        name: what it is called: the file, or "typed in".
        shares: by class; adding up to 1. A class that the analyser does not give is not there.
        other: share of what it counts and the model does not know, of all.
    """

    name: str
    shares: Mapping[str, float]
    other: float = 0.0

    def compare(self, label: str, limits: tuple[float, float]) -> Comparison | None:
        """Compare one class with the limits of its counted share; None: not given."""
        share = self.shares.get(label)
        if share is None:
            return None
        low, high = limits
        return Comparison(share, low <= share <= high)


def read_analyser(text: str) -> tuple[str, dict[str, float]]:
    """Return the name and the percentages of a differential, as they are written.

    Args:
        text: ``"CLASS=PERCENT,…"``, or the path of a TOML file with a table ``[differential]``.

    Raises:
        DataError: it is neither, or a number is not one.
    """
    if not text.strip():
        raise DataError("--analyser", "is empty", _FORM)
    if "=" in text and not Path(text).is_file():
        pairs = [_pair(part) for part in text.split(",") if part.strip()]
        return "typed in", _percentages("analyser", pairs, _FORM)
    return text, _of_file(Path(text))


def analyser_of(text: str, labels: Sequence[str]) -> Analyser:
    """Return an analyser's differential in a model's classes.

    Args:
        text: see `read_analyser`.
        labels: the model's classes.

    Raises:
        DataError: a class is not the model's, is named twice, a number is not one, or they do
            not add up to about 100.
    """
    name, percentages = read_analyser(text)
    subject = "analyser" if name == "typed in" else name
    total = math.fsum(percentages.values())
    if abs(total - 100) > SUM_TOLERANCE:
        raise DataError(
            subject,
            f"its percentages add up to {total:g}, not to 100",
            f"give all classes, and as `{OTHER}` what the model does not know",
        )
    known: dict[str, float] = {}
    other = 0.0
    for word, percent in percentages.items():
        label = _label(word, labels)
        if label is None and folded(word) == OTHER:
            other = percent
            continue
        if label is None:
            names = ", ".join(labels)
            meant = did_you_mean(word, labels)
            raise DataError(
                subject,
                f"the model has no class {word!r}{meant}",
                f"its classes are {names}; add what it does not know to `{OTHER}`",
            )
        if label in known:
            raise DataError(subject, f"class {label!r} is given twice", "give it once")
        known[label] = percent
    rest = math.fsum(known.values())
    if not rest:
        raise DataError(subject, "no cell is of a class that the model knows", _FORM)
    return Analyser(name, {label: own / rest for label, own in known.items()}, other / total)


def _label(word: str, labels: Sequence[str]) -> str | None:
    """Return the class that a word means: the same, whatever capitals, marks and plural."""
    if word in labels:
        return word
    for form in (folded(word), folded(word).removesuffix("s")):
        for label in labels:
            if form in (folded(label), folded(label).removesuffix("s")):
                return label
    return None


def _pair(text: str) -> tuple[str, Any]:
    word, equals, number = text.rpartition("=")
    if not equals:
        raise DataError("analyser", f"{plain(text.strip())!r} has no number", _FORM)
    return word.strip(), number.strip().removesuffix("%").strip()


def _of_file(path: Path) -> dict[str, float]:
    content = read_toml(path, DataError, _TOML)
    unknown = [name for name in content if name != "differential"]
    if unknown:
        meant = did_you_mean(unknown[0], ["differential"])
        raise DataError(path, f"{unknown[0]!r} is nothing it may hold{meant}", _TOML)
    table = content.get("differential")
    if not isinstance(table, dict):
        raise DataError(path, "has no table [differential]", _TOML)
    return _percentages(path, table.items(), _TOML)


def _plain_number(value: Any) -> float:
    return math.nan if isinstance(value, bool) else float(value)


def _percentages(
    subject: object, pairs: Iterable[tuple[str, Any]], remedy: str
) -> dict[str, float]:
    """Return the numbers by name.

    Raises:
        DataError: one is none of 0 to 100, a name is empty or there twice, or there is nothing.
    """
    found: dict[str, float] = {}
    for word, value in pairs:
        try:
            percent = number_of(value) if isinstance(value, str) else _plain_number(value)
        except (TypeError, ValueError, OverflowError):
            percent = math.nan
        if not word or not 0 <= percent <= 100:
            said = plain(str(value))[:40]
            finding = f"{word!r} is {said!r}, not a number from 0 to 100"
            raise DataError(subject, finding, remedy)
        if word in found:
            raise DataError(subject, f"class {word!r} is given twice", "give it once")
        found[word] = percent
    if not found:
        raise DataError(subject, "it is empty", remedy)
    return found
