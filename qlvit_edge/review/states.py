"""What a run's records come to: collected → reviewed → signed → exported.

A decision on a cell takes a reviewed run back to collected and drops its signatures: what is
signed is what stands. A signed run is changed only after it was reopened, for a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from qlvit_edge.review.records import DECISIONS, ReviewRecord

State = Literal["collected", "reviewed", "signed", "exported"]


@dataclass(frozen=True)
class Decision:
    """What a person said of a cell.

    Attributes:
        kind: one of `qlvit_edge.review.records.DECISIONS`.
        label: the class after a change or a blind answer; that which was confirmed, where each cell
            is counted once and a better view may say otherwise later. None where the cell is not
            counted, and where it is what the model says.
        by: who.
        number: of its record: the greatest one is the last.
        reason: why.
    """

    kind: str
    label: str | None
    by: str
    number: int
    reason: str | None


@dataclass(frozen=True)
class BlindAnswer:
    """What a person said of a drawn cell without seeing the model's answer.

    Attributes:
        label: the class; None: it is not counted.
        number: of its record.
        by: who.
        seen: whether the same person had decided on the cell before, knowing the model's answer.
    """

    label: str | None
    number: int
    by: str
    seen: bool


class StepError(ValueError):
    """A step that the state does not allow; its text is what was found.

    Attributes:
        remedy: what can be done instead.
    """

    def __init__(self, finding: str, remedy: str) -> None:
        super().__init__(finding)
        self.remedy = remedy


@dataclass
class ReviewStatus:
    """What records come to, one after another.

    Attributes:
        state: see the module.
        done_by: who has looked at every cell.
        signed_by: who has signed what stands, in order.
        signed_at: when the last of these signed.
        readers: signatures that are needed.
        records: how many there are.
        drawn: cells that were drawn at random, to be classed without the model's answer.
        blind: what was said of these, by cell.
    """

    state: State = "collected"
    done_by: str | None = None
    signed_by: tuple[str, ...] = ()
    signed_at: str | None = None
    readers: int = 1
    records: int = 0
    drawn: tuple[int, ...] = ()
    blind: dict[int, BlindAnswer] = field(default_factory=dict)
    _decisions: dict[int, list[Decision]] = field(default_factory=dict)
    _cells_of: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_signed(self) -> bool:
        """Whether it may leave as a result."""
        return self.state in ("signed", "exported")

    def statement(self) -> str:
        """Say what an export is worth, in words that stand on it."""
        if not self.is_signed:
            return f"PRELIMINARY: {self.state}, not signed"
        return f"signed by {' and '.join(self.signed_by)} at {self.signed_at}"

    def decision(self, cells: Iterable[int]) -> Decision | None:
        """Return the last decision on any of some cells, which are one."""
        found = [self._decisions[cell][-1] for cell in cells if self._decisions.get(cell)]
        return max(found, key=lambda one: one.number, default=None)

    def last_decision(self) -> int | None:
        """Return the number of the last record that can be undone."""
        return max(self._cells_of, default=None)

    def require(self, record: ReviewRecord) -> None:
        """Refuse a step that the state does not allow.

        Raises:
            StepError: it is not allowed.
        """
        kind = record.kind
        if kind in (*DECISIONS, "draw", "undo", "done") and self.is_signed:
            names = " and ".join(self.signed_by)
            raise StepError(f"run {record.run} is signed by {names}", "reopen it, with a reason")
        if kind == "undo" and record.undoes not in self._cells_of:
            finding = "there is no decision to undo"
            if record.undoes is not None:
                finding = f"record {record.undoes} is no decision, or was undone before"
            raise StepError(finding, "`results show` lists the records")
        self._require_blind(record)
        if kind == "sign":
            self._require_signable(record)
        if kind in ("reopen", "export") and not self.is_signed:
            remedy = "decide on its cells" if kind == "reopen" else "sign it first"
            raise StepError(f"run {record.run} is not signed", remedy)
        if kind == "delete":
            raise StepError("a deletion is of the file, not of a run", "start again")

    def _require_blind(self, record: ReviewRecord) -> None:
        """Answers without the model's are given once: who has seen how they compare knows it."""
        if record.kind == "draw" and self.drawn:
            finding = f"cells of run {record.run} were drawn already"
            raise StepError(finding, "class those that are left")
        if record.kind == "blind":
            cell = self._drawn_of(record)
            if cell is None:
                finding = "it is not one of the cells that were drawn"
                raise StepError(finding, "decide on it with its answer in view")
            if cell in self.blind:
                raise StepError(f"cell {cell} was classed already", "undo that, or go on")
        answers = [one.number for one in self.blind.values()]
        if record.kind == "undo" and record.undoes in answers and self.is_blind_complete:
            finding = "all drawn cells are classed, and compared with the model"
            raise StepError(finding, "give the cell another class; the comparison stays")

    @property
    def is_blind_complete(self) -> bool:
        """Whether every drawn cell was classed."""
        return bool(self.drawn) and len(self.blind) == len(self.drawn)

    def _drawn_of(self, record: ReviewRecord) -> int | None:
        found = set(record.cells) & set(self.drawn)
        return found.pop() if len(found) == 1 else None

    def _require_signable(self, record: ReviewRecord) -> None:
        known = {name.casefold() for name in self.signed_by}
        if self.is_signed or record.by.casefold() in known:
            names = " and ".join(self.signed_by)
            remedy = "it can be exported" if self.is_signed else "another reader must sign"
            raise StepError(f"run {record.run} is signed by {names} already", remedy)
        if self.state != "reviewed":
            raise StepError(
                f"run {record.run} is not reviewed", "finish it with `results review --done`"
            )

    def add(self, record: ReviewRecord) -> None:
        """Take the next record into account.

        Raises:
            StepError: the state does not allow it.
        """
        self.require(record)
        self.records = record.number
        match record.kind:
            case "confirm" | "change" | "exclude" | "blind":
                if record.kind == "blind":
                    self._answer(record)
                decision = Decision(
                    record.kind, record.label, record.by, record.number, record.reason
                )
                for cell in record.cells:
                    self._decisions.setdefault(cell, []).append(decision)
                self._cells_of[record.number] = record.cells
                self._open()
            case "draw":
                self.drawn = record.cells
            case "undo":
                self.blind = {
                    cell: one for cell, one in self.blind.items() if one.number != record.undoes
                }
                for cell in self._cells_of.pop(record.undoes or 0):
                    kept = [one for one in self._decisions[cell] if one.number != record.undoes]
                    self._decisions[cell] = kept
                self._open()
            case "done":
                self.state, self.done_by = "reviewed", record.by
            case "sign":
                self.signed_by += (record.by,)
                self.signed_at = record.at
                self.readers = max(self.readers, record.readers or 1)
                if len(self.signed_by) >= self.readers:
                    self.state = "signed"
            case "reopen":
                self._open()
            case "export":
                self.state = "exported"
            case "delete":  # refused above
                pass

    def _answer(self, record: ReviewRecord) -> None:
        name = record.by.casefold()
        seen = any(
            one.by.casefold() == name and one.kind != "blind"
            for cell in record.cells
            for one in self._decisions.get(cell, ())
        )
        cell = self._drawn_of(record)
        if cell is not None:  # `require` has seen to that
            self.blind[cell] = BlindAnswer(record.label, record.number, record.by, seen)

    def _open(self) -> None:
        """Nobody answers any more for what stands now."""
        self.state, self.done_by = "collected", None
        self.signed_by, self.signed_at, self.readers = (), None, 1


def status_of(records: Iterable[ReviewRecord]) -> ReviewStatus:
    """Return what records come to.

    Raises:
        StepError: one was not allowed after those before it.
    """
    status = ReviewStatus()
    for record in records:
        status.add(record)
    return status
