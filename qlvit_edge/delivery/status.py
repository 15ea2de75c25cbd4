"""What a store holds, in words and for programs; and going back by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qlvit_edge.delivery.keys import TrustedKey
from qlvit_edge.delivery.state import Slot, SlotName, State
from qlvit_edge.delivery.store import Store, nothing_installed, now
from qlvit_edge.delivery.trial import FRAMES_NEEDED, MOST_STARTS
from qlvit_edge.errors import DataError, ModelFileError

_SLOTS: tuple[SlotName, SlotName] = ("a", "b")


@dataclass(frozen=True)
class Status:
    """A store, looked at.

    Attributes:
        store: the store.
        state: its record.
        faults: why a slot's model cannot be used, by slot.
    """

    store: Store
    state: State
    faults: dict[SlotName, str]

    @property
    def usable(self) -> bool:
        """Whether the active model can be used; also where nothing was ever installed."""
        return self.state.active not in self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        state = self.state
        trial = {
            "starts": state.starts,
            "most_starts": MOST_STARTS,
            "frames_needed": FRAMES_NEEDED,
        }
        return {
            "store": str(self.store.folder),
            "active": state.active,
            "slots": {name: self._slot(name) for name in _SLOTS},
            "trial": trial if state.on_trial else None,
            "newest": state.newest,
            "events": [event.model_dump() for event in state.events],
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        state, lines = self.state, [f"store: {self.store.folder}"]
        for name in _SLOTS:
            slot = state.slots[name]
            mark = "active" if name == state.active else "kept"
            if slot is None:
                lines.append(f"slot {name}: empty")
                continue
            lines.append(f"slot {name}: {slot.title}, {mark}, {self._standing(name, slot)}")
            lines.append(
                f"        signed by {slot.key}, installed {slot.installed}, SHA-256 {slot.sha256}"
            )
            if name in self.faults:
                lines.append(f"        cannot be used: {self.faults[name]}")
        return lines + [f"{one.time}  {one.what}: {one.text}" for one in state.events]

    def _standing(self, name: SlotName, slot: Slot) -> str:
        if slot.standing == "failed":
            return f"failed: {slot.reason}"
        if slot.standing == "good" or name != self.state.active:
            return "marked good" if slot.standing == "good" else "never tried to the end"
        return f"on trial ({self.state.starts} of {MOST_STARTS} starts ended without a word)"

    def _slot(self, name: SlotName) -> dict[str, Any] | None:
        slot = self.state.slots[name]
        if slot is None:
            return None
        shown = slot.model_dump(exclude={"folder"})
        return {**shown, "usable": name not in self.faults, "fault": self.faults.get(name)}


def status_of(store: Store, keys: Sequence[TrustedKey]) -> Status:
    """Look at a store, and verify both models.

    Raises:
        DataError: the record is damaged.
    """
    state = store.read()
    faults: dict[SlotName, str] = {}
    for name in _SLOTS:
        slot = state.slots[name]
        if slot is None:
            continue
        try:
            store.kept(slot, keys)
        except ModelFileError as error:
            faults[name] = str(error).partition("; ")[0]
    return Status(store, state, faults)


def go_back(store: Store, keys: Sequence[TrustedKey]) -> tuple[Slot, Slot]:
    """Make the model in the other slot the active one, because somebody says so.

    Returns:
        The model that was left, and the one that runs from now on.

    Raises:
        DeviceError: nothing is installed, or another command changes the store.
        DataError: the other slot is empty, or the record is damaged.
        ModelFileError: the other slot's model cannot be used.
        OSError: the record cannot be written.
    """
    if store.read().running is None:
        raise nothing_installed(store)
    with store.changing():
        state = store.read()
        if state.running is None or state.other is None:
            finding = f"slot {state.other_name} is empty: there is no model to go back to"
            raise DataError(store.folder, finding, "install one: qlvit-edge models install FILE")
        store.kept(state.other, keys)
        changed = state.rolled_back("somebody went back by hand", now(), failed=False)
        store.write(changed)
    left, running = changed.other, changed.running
    if left is None or running is None:
        raise nothing_installed(store)
    return left, running
