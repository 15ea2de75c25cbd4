"""The first runs of a new model: counted, watched, and then it is good, or the old one is back.

A start is written down before the model is loaded, and taken back when the run ends in order,
whatever ended it. So only runs count that ended without a word: killed, crashed with the whole
process, stopped by a watchdog, cut off from power. The record is changed under its lock, in one
step each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from qlvit_edge.delivery.examination import OVER_BUDGET
from qlvit_edge.delivery.keys import TrustedKey
from qlvit_edge.delivery.state import State
from qlvit_edge.delivery.store import Kept, Store, nothing_installed, now
from qlvit_edge.errors import ModelFileError

MOST_STARTS = 3
"""Starts that may end without a word; the next one is another model's."""

FRAMES_NEEDED = 20
"""Answered frames with cells after which a model is judged."""

MOST_RESTARTS = 3
"""Losses of the model's own process at which it has failed."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Started:
    """A model that a run is to use.

    Attributes:
        kept: the model, verified.
        on_trial: whether it is on trial.
        counted: whether this start was written down.
    """

    kept: Kept
    on_trial: bool
    counted: bool


class Trials:
    """The starts of a store's models.

    Attributes:
        store: the store.
        keys: whose signatures count.
    """

    def __init__(self, store: Store, keys: Sequence[TrustedKey], say: Say) -> None:
        self.store, self.keys, self._say = store, keys, say

    def begin(self) -> Started:
        """Choose the model of a run, and write its start down.

        One that was started too often is rolled back, and one that was changed on the disk; where
        the record cannot be written, a model on trial gives way to one that is marked good.

        Raises:
            DeviceError: nothing is installed.
            ModelFileError: the model is damaged and there is none beside it that has not failed.
            DataError: the store is damaged.
        """
        if self.store.read().running is None:
            raise nothing_installed(self.store)
        with self.store.changing():
            state = self.store.read()
            chosen = self._chosen(state)
            started = chosen if not chosen.on_trial else chosen.started(1)
            kept = self._kept(chosen)
            if started == state:
                return Started(kept, on_trial=False, counted=False)
            try:
                self.store.write(started)
            except OSError as error:
                return self._uncounted(chosen, kept, error)
        if chosen is not state:
            self._say(f"{self.store.folder}: {chosen.events[-1].what} {chosen.events[-1].text}")
        return Started(kept, chosen.on_trial, counted=chosen.on_trial)

    def end(self, started: Started) -> None:
        """Take a start back: the run ended in order. The store may have become another since."""
        if not started.counted:
            return
        with suppress(OSError), self.store.changing():
            state = self.store.read()
            if state.on_trial and state.running == started.kept.slot and state.starts:
                self.store.write(state.started(-1))

    def mark_good(self, started: Started) -> None:
        """Write down that a model has passed.

        Raises:
            OSError: the record cannot be written; it stays on trial.
        """
        with self.store.changing():
            state = self.store.read()
            if state.on_trial and state.running == started.kept.slot:
                self.store.write(state.marked_good(now()))
                self._say(f"{started.kept.slot.title} has passed its trial and is marked good")

    def beside(self) -> Kept | None:
        """Return the model in the other slot, verified; None where it has failed, or is none."""
        other = self.store.read().other
        if other is None or other.standing == "failed":
            return None
        with suppress(ModelFileError):
            return self.store.kept(other, self.keys)
        return None

    def roll_back(self, started: Started, reason: str) -> str | None:
        """Make the model in the other slot the active one.

        Returns:
            Name and version of the model that runs from now on; None where there is none that has
            not failed, or the model on trial is no longer the active one.

        Raises:
            OSError: the record cannot be written.
        """
        with self.store.changing():
            state, other = self.store.read(), self.beside()
            if other is None or state.running != started.kept.slot:
                return None
            self.store.write(state.rolled_back(reason, now(), failed=True))
        return other.slot.title

    def _chosen(self, state: State) -> State:
        """The record with the model active that is to run; not yet written."""
        slot = state.running
        if slot is None:
            raise nothing_installed(self.store)
        reason = None
        if state.on_trial and state.starts >= MOST_STARTS:
            reason = f"{state.starts} starts on trial ended without a word"
        else:
            try:
                self.store.kept(slot, self.keys)
            except ModelFileError as error:
                reason = str(error).partition("; ")[0]
        if reason is None or self.beside() is None:
            return state
        return state.rolled_back(reason, now(), failed=True)

    def _kept(self, state: State) -> Kept:
        if state.running is None:
            raise nothing_installed(self.store)
        return self.store.kept(state.running, self.keys)

    def _uncounted(self, chosen: State, kept: Kept, error: OSError) -> Started:
        """What runs where the record cannot be written."""
        reason = error.strerror or str(error)
        other = self.beside() if chosen.on_trial else None
        instead = ""
        if other is not None and other.slot.standing == "good":
            instead = f" in place of {kept.slot.title}, whose trial cannot be counted"
            kept = other
        where = f"{self.store.folder}: cannot be written ({reason})"
        self._say(f"{where}; {kept.slot.title} runs{instead}")
        return Started(kept, on_trial=False, counted=False)


class Watch:
    """Frames of a model on trial; feeds on what a run answered.

    Attributes:
        frames: answered frames with cells.
        slow: of those, over the budget.
    """

    def __init__(self, budget_ms: float | None) -> None:
        self._budget_ms = budget_ms
        self.frames = self.slow = 0

    def see(self, cells: int, seconds: float) -> None:
        """Note a frame.

        Args:
            cells: that were classified in it.
            seconds: that the model took for all of them.
        """
        if cells == 0:
            return
        self.frames += 1
        if self._budget_ms is not None and 1000 * seconds / cells > self._budget_ms:
            self.slow += 1

    def failure(self, *, unanswered: int, restarts: int) -> str | None:
        """Return why the model has failed; None where it has not, so far.

        Args:
            unanswered: frames on which the runtime failed twice.
            restarts: processes of the model's that were lost.
        """
        if unanswered:
            return "its process failed twice on one frame"
        if restarts >= MOST_RESTARTS:
            return f"its process was lost {restarts} times"
        if self.slow > OVER_BUDGET * FRAMES_NEEDED:
            return (
                f"it is slower than its budget of {self._budget_ms:g} ms in {self.slow} of "
                f"{self.frames} frames"
            )
        return None

    @property
    def passed(self) -> bool:
        """Whether enough was seen, where nothing has failed."""
        return self.frames >= FRAMES_NEEDED
