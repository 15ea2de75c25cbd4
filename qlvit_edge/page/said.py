"""What a reader wants to do, as it comes over the network: checked before anything is opened."""

from __future__ import annotations

from typing import Any, Final

from qlvit_edge.review.records import ReviewRecord
from qlvit_edge.review.store import ReviewStore

MOST_AT_ONCE = 5000
"""Cells in one decision."""

STEPS: Final = (
    *("confirm", "change", "exclude", "blind", "draw"),
    *("undo", "done", "sign", "reopen", "export"),
)


class WrongRequest(ValueError):
    """A request that cannot be carried out; its text says why in one line.

    Attributes:
        status: of the answer over HTTP.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Said:
    """One step that somebody wants to make.

    Attributes:
        step: one of `STEPS`.
        run: number of the run.
        by: who, as typed.
        cells: numbers of cells.
        unseen: whether the reader says that there was no picture to judge by.
    """

    def __init__(self, said: dict[str, object]) -> None:
        """Read a request's content.

        Raises:
            WrongRequest: fields are missing or of other types.
        """
        self._said = said
        self.step = self.text("step")
        if self.step not in STEPS:
            raise WrongRequest(f"step: name one of {', '.join(STEPS)}")
        self.run = self._number("run")
        self.by = self.text("by")
        self.cells = self._cells()
        self.unseen = said.get("unseen") is True

    def text(self, name: str) -> str:
        """Return a field's text; "" where there is none.

        Raises:
            WrongRequest: it is something else.
        """
        found = self._said.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise WrongRequest(f"{name}: give a text")
        return found

    def carry_out(self, store: ReviewStore, unseen: str) -> ReviewRecord:
        """Make the step; raises as the methods of `ReviewStore` do.

        Args:
            store: the open results file.
            unseen: the reason of a confirmation without a picture.
        """
        run, by, reason = self.run, self.by, self.text("reason")
        match self.step:
            case "confirm":
                return store.confirm(run, self.cells, by, reason=unseen if self.unseen else None)
            case "change":
                if self.unseen and reason.strip():
                    reason = f"{reason.strip()} (without a picture)"
                new = self._said.get("new") is True
                return store.change(
                    run, self.cells, self.text("label"), reason=reason, by=by, new=new
                )
            case "exclude":
                return store.exclude(run, self.cells, reason=reason, by=by)
            case "blind":
                label = None if self._said.get("label") is None else self.text("label")
                return store.blind(run, self._one_cell(), label, by)
            case "draw":
                return store.draw(run, by)
            case "undo":
                number = None if self._said.get("number") is None else self._number("number")
                return store.undo(run, by, number)
            case "done":
                return store.done(run, by)
            case "sign":
                return store.sign(run, by, self._readers())
            case "reopen":
                return store.reopen(run, reason=reason, by=by)
        raise WrongRequest("step: an export is asked for elsewhere")

    def _number(self, name: str) -> int:
        found: Any = self._said.get(name)
        if type(found) is not int or not 0 < found < 2**53:
            raise WrongRequest(f"{name}: give a number")
        return int(found)

    def _cells(self) -> tuple[int, ...]:
        found = self._said.get("cells", [])
        if not isinstance(found, list) or any(
            type(number) is not int or not 0 < number < 2**53 for number in found
        ):
            raise WrongRequest("cells: give a list of numbers")
        if len(found) > MOST_AT_ONCE:
            raise WrongRequest(f"cells: give {MOST_AT_ONCE} at most")
        return tuple(found)

    def _one_cell(self) -> int:
        if len(self.cells) != 1:
            raise WrongRequest("cells: give one")
        return self.cells[0]

    def _readers(self) -> int:
        readers = self._said.get("readers", 1)
        if readers not in (1, 2) or type(readers) is not int:
            raise WrongRequest("readers: 1 or 2")
        return readers
