"""A count corrected for the model's own mistakes, with an interval that knows of both samples.

Of a cell of class i the model gives the accepted answer j with probability A[i, j]; rows add up to
less than one, the rest is not accepted. A sample of shares s then gives accepted answers in the
shares q proportional to s A. The shares that make the counted answers most likely are the inverse
where that is a point of the simplex, and otherwise found by expectation and maximisation
(Dempster, Laird and Rubin 1977). A is the mean over the sources of the held-out cells.

The interval is of the shares over many draws: of the sources by the Bayesian bootstrap (Rubin
1981, "The Bayesian bootstrap"), and of the count by the posterior of a multinomial. Both start
from weak priors, so that a mistake never seen, and a class never counted, are not impossible. How
often it holds the true share is measured by `benchmarks/differential_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.text import counted as number_of

REPLICATES: Final = 1000
"""Draws that an interval is taken from."""

LEAST_CELLS: Final = 20
"""Held-out cells of a class without which its mistakes are not known well enough."""

LEAST_SOURCES: Final = 5
"""Sources of them, likewise."""

LEAST_ACCEPTED: Final = 0.1
"""Share of a class's held-out cells that is accepted; below, it is hardly ever counted."""

MOST_CONDITION: Final = 30.0
"""Of the matrix of mistakes; beyond, classes are confused too much to be told apart by counts."""

PRIOR_MISTAKES: Final = 2.0
"""Cells that a row of the matrix starts with, shared out evenly."""

PRIOR_COUNT: Final = 0.5
"""Cells that each class starts with (Jeffreys)."""

_STEPS = 200
_CLOSE = 1e-6
_LARGEST_BLOCK = 1 << 20

Float = NDArray[np.float64]


class NotCorrectableError(ValueError):
    """A count that cannot be corrected; the text says why.

    Attributes:
        index: of the class that it is about; None: of no single one.
    """

    def __init__(self, text: str, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index

    def said_of(self, labels: Sequence[str]) -> str:
        """Return why, with the name of the class."""
        return str(self) if self.index is None else f"class {labels[self.index]}: {self}"


@dataclass(frozen=True)
class Correction:
    """Shares of the classes, corrected for the model's mistakes.

    Attributes:
        shares: (counted,) float64, adding up to 1.
        low: lower limits of the 95 % intervals.
        high: upper limits.
    """

    shares: Float
    low: Float
    high: Float


def correct(
    counts: Sequence[int],
    confusion: Confusion,
    counted: Sequence[int] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Correction:
    """Correct a count.

    Args:
        counts: accepted cells by class, in the model's order.
        confusion: the model's mistakes.
        counted: indices of the classes whose shares are wanted, among each other: cells of the
            others are mistaken for them, and they for these. None: all classes.
        replicates: draws for the interval.
        seed: of the draws; the same gives the same interval.

    Raises:
        NotCorrectableError: nothing was counted, or the mistakes do not bear it.
    """
    seen = np.array(counts, np.float64)
    wanted = np.arange(len(seen)) if counted is None else np.array(counted)
    if not seen[wanted].sum():
        raise NotCorrectableError("no cells are counted yet")
    table, sources = confusion.by_kind(len(seen))
    mean = np.tensordot(sources, table, 1)
    require_correctable(confusion, len(seen))
    shares = _among(_corrected(seen[None] / seen.sum(), mean[None]), wanted)[0]
    generator = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            _draw(seen, table, sources, size, generator)
            for size in _blocks(replicates, len(seen), len(table))
        ]
    )
    low, high = np.quantile(_among(drawn, wanted), [0.025, 0.975], axis=0)
    return Correction(shares, np.minimum(low, shares), np.maximum(high, shares))


def _among(shares: Float, wanted: NDArray[np.intp]) -> Float:
    """Return the shares of some classes among each other."""
    part = shares[:, wanted]
    whole = part.sum(1, keepdims=True)
    equal = np.full_like(part, 1 / len(wanted))
    return np.asarray(np.divide(part, whole, out=equal, where=whole > 0))


def require_correctable(confusion: Confusion, classes: int) -> None:
    """Refuse mistakes that are not known well enough, or too many.

    Raises:
        NotCorrectableError: they are.
    """
    table, sources = confusion.by_kind(classes)
    mean = np.tensordot(sources, table, 1)
    cells, accepted = mean.sum(1), mean[:, :-1].sum(1)
    for index, (own, held) in enumerate(zip(cells, confusion.sources_of(classes), strict=True)):
        if own < LEAST_CELLS or held < LEAST_SOURCES:
            raise NotCorrectableError(
                f"the model's mistakes are known from only {number_of(int(own), 'held-out cell')} "
                f"of {number_of(held, 'source')}; {LEAST_CELLS} of {LEAST_SOURCES} are needed",
                index,
            )
        if accepted[index] < LEAST_ACCEPTED * own:
            raise NotCorrectableError(
                f"the model accepts only {accepted[index] / own:.0%} of its held-out cells", index
            )
    if np.linalg.cond(mean[:, :-1] / accepted[:, None]) > MOST_CONDITION:
        raise NotCorrectableError("the model confuses some classes too often")


def _draw(
    seen: Float, table: Float, sources: Float, size: int, generator: np.random.Generator
) -> Float:
    """Return corrected shares (size, classes) of as many draws of sources and counts."""
    classes = len(seen)
    weights = generator.standard_gamma(sources, (size, len(sources)))
    mistakes = (weights @ table.reshape(len(table), -1)).reshape(size, classes, classes + 1)
    mistakes += generator.standard_gamma(PRIOR_MISTAKES / (classes + 1), mistakes.shape)
    counts = generator.standard_gamma(seen + PRIOR_COUNT, (size, classes))
    return _corrected(counts / counts.sum(1, keepdims=True), mistakes)


def _corrected(answers: Float, mistakes: Float) -> Float:
    """Return the most likely shares (n, classes).

    Args:
        answers: (n, classes), shares of the accepted answers.
        mistakes: (n, classes, classes + 1), cells or weights by class and answer.
    """
    rows = mistakes[:, :, :-1] / mistakes.sum(2, keepdims=True)
    accepted = np.maximum(rows.sum(2), np.finfo(float).tiny)
    shares = fitted(answers, rows / accepted[:, :, None]) / accepted
    return np.asarray(shares / shares.sum(1, keepdims=True))


def fitted(answers: Float, rows: Float) -> Float:
    """Return the shares (n, classes) on the simplex that make answers most likely.

    Args:
        answers: (n, classes), adding up to 1.
        rows: (n, classes, classes): probability of each answer by class.
    """
    try:
        solved = np.linalg.solve(np.swapaxes(rows, 1, 2), answers[:, :, None])
        shares = np.asarray(solved[:, :, 0], np.float64)
    except np.linalg.LinAlgError:
        shares = np.full(answers.shape, -1.0)
    outside = np.flatnonzero(~(shares >= 0).all(1))
    if len(outside):
        shares[outside] = _by_expectation(shares[outside], answers[outside], rows[outside])
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float64)


def _by_expectation(start: Float, answers: Float, rows: Float) -> Float:
    """Find shares by expectation and maximisation, from near an inverse outside the simplex."""
    shares = np.maximum(np.nan_to_num(start, nan=0.0, posinf=0.0, neginf=0.0), 0.01)
    shares /= shares.sum(1, keepdims=True)
    better = shares
    for _ in range(_STEPS):
        expected = (shares[:, None, :] @ rows)[:, 0]
        ratio = np.divide(answers, expected, out=np.zeros_like(answers), where=expected > 0)
        better = shares * (rows @ ratio[:, :, None])[:, :, 0]
        better /= better.sum(1, keepdims=True)
        if np.abs(better - shares).max() < _CLOSE:
            break
        shares = better
    return np.asarray(better)


def _blocks(replicates: int, classes: int, kinds: int) -> list[int]:
    """Divide draws so that none takes much memory."""
    size = max(1, min(replicates, _LARGEST_BLOCK // max(classes * (classes + 1), kinds)))
    whole, rest = divmod(replicates, size)
    return [size] * whole + [rest] * bool(rest)
