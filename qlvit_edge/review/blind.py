"""Cells drawn at random and classed without the model's answer: how often that is right.

Who looks at a cell with an answer beside it tends to agree with it. So some accepted cells are
drawn, shown without it, and what is said of them compared: an unbiased estimate of the share of
accepted answers that are right.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qlvit_edge.review.cells import ReviewCell
from qlvit_edge.review.states import ReviewStatus
from qlvit_edge.statistics import clopper_pearson
from qlvit_edge.text import counted

DRAWN = 20
"""Cells that are drawn; of a run that has fewer, all."""

BLIND = "classed without the model's answer"
"""The reason of these decisions."""


@dataclass(frozen=True)
class BlindEstimate:
    """How often accepted answers are right, from cells drawn at random.

    Attributes:
        drawn: cells that were drawn.
        answered: of these, those that were classed.
        among: accepted cells whose frame was kept, from which they were drawn.
        accepted: accepted cells of the run.
        right: answers of the model that are what people said; None until all are classed. A cell
            that people did not count is none of them.
        limits: Clopper-Pearson 95 % interval of the share; None until all are classed.
        seen: cells that the same person had decided on before, knowing the model's answer.
        differing: cells on which the two differ; empty until all are classed.
    """

    drawn: int
    answered: int
    among: int
    accepted: int
    right: int | None
    limits: tuple[float, float] | None
    seen: int
    differing: tuple[int, ...]

    def sentence(self) -> str:
        """Return it in words."""
        if self.right is None or self.limits is None:
            left = self.drawn - self.answered
            return f"{left} of {self.drawn} random cells left to class without the model's answer"
        low, high = self.limits
        text = (
            f"{self.right} of {self.drawn} random accepted cells are what the model says: "
            f"{self.right / self.drawn:.0%}, 95 % limits {low:.0%}–{high:.0%}"
        )
        if self.among == self.drawn:
            text += "; these are all there are"
        if self.among < self.accepted:
            missing = self.accepted - self.among
            text += f"; {counted(missing, 'accepted cell')} without a kept frame not among them"
        if self.seen:
            text += (
                f"; {self.seen} had been decided on by the same reader before, who may remember: "
                "the share may be too high"
            )
        return text

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "statement": self.sentence()}


def new_seed() -> str:
    """Return 128 random bits as hexadecimal digits."""
    return secrets.token_hex(16)


def drawable(cells: Iterable[ReviewCell]) -> list[int]:
    """Return the numbers of the cells that are drawn from: accepted, with a frame as it was."""
    return [cell.id for cell in cells if _is_accepted(cell) and cell.kept is not None]


def _is_accepted(cell: ReviewCell) -> bool:
    """Whether it is one of the accepted cells that the model's differential has."""
    return cell.verdict == "accepted" and cell.uncounted is None


def drawn_from(cells: Sequence[int], seed: str) -> tuple[int, ...]:
    """Return `DRAWN` of some cells, or all, in an order that only the seed decides.

    By the SHA-256 of seed and number: the same on every machine and in every version of Python, so
    that it can be checked afterwards.
    """

    def place(cell: int) -> bytes:
        return hashlib.sha256(f"{seed} {cell}".encode()).digest()

    return tuple(sorted(cells, key=place)[:DRAWN])


def estimate_of(status: ReviewStatus, cells: Sequence[ReviewCell]) -> BlindEstimate | None:
    """Return what blind answers come to; None where no cells were drawn."""
    if not status.drawn:
        return None
    says = {cell.id: cell.label for cell in cells}
    differing, right, limits = [], None, None
    if status.is_blind_complete:
        differing = [
            cell for cell in status.drawn if status.blind[cell].label != says.get(cell, "")
        ]
        right = len(status.drawn) - len(differing)
        limits = clopper_pearson(right, len(status.drawn))
    return BlindEstimate(
        drawn=len(status.drawn),
        answered=len(status.blind),
        among=len(drawable(cells)),
        accepted=sum(map(_is_accepted, cells)),
        right=right,
        limits=limits,
        seen=sum(one.seen for one in status.blind.values()),
        differing=tuple(differing),
    )
