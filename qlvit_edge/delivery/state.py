"""What a store holds and which model runs: one small record, and what may become of it.

Everything here is pure. A record is written as one file that is replaced in one step, so that what
follows from it (which model runs, whether it is on trial) changes at once or not at all.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.delivery.manifest import NAME, VERSION, Manifest, Target, version_key
from qlvit_edge.errors import DataError
from qlvit_edge.files import json_text
from qlvit_edge.reading import UnreadableFileError, parse_json

SlotName: TypeAlias = Literal["a", "b"]
Standing: TypeAlias = Literal["trial", "good", "failed"]
MOST_EVENTS = 20
MOST_STATE_BYTES = 256 * 1024
_MOST_TEXT = 500
_MOST_STARTS = 1000

_Text = Annotated[str, Field(max_length=_MOST_TEXT)]
_Version = Annotated[str, Field(pattern=rf"^{VERSION}$")]
_Name = Annotated[str, Field(pattern=rf"^{NAME}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Slot(_Strict):
    """A model that is kept.

    Attributes:
        folder: its folder in the store.
        name: of the model.
        version: of the model.
        targets: what it may run on.
        kind: `.tflite` file or chain.
        sha256: of the model.
        key: name of the key that signed it.
        installed: when, UTC by the device's clock.
        standing: on trial, marked good, or failed.
        reason: why it failed; None otherwise.
    """

    folder: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: _Name
    version: _Version
    targets: list[Target]
    kind: Literal["tflite", "chain"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    key: _Name
    installed: _Text
    standing: Standing = "trial"
    reason: _Text | None = None

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


class Event(_Strict):
    """Something that happened.

    Attributes:
        time: when, UTC by the device's clock.
        what: in a word or two.
        text: in a sentence.
    """

    time: _Text
    what: Literal["installed", "marked good", "rolled back", "failed"]
    text: _Text


def _empty() -> dict[SlotName, Slot | None]:
    return {"a": None, "b": None}


class State(_Strict):
    """The record.

    Attributes:
        format: version of this structure.
        active: the slot whose model runs; None before the first installation.
        slots: what is kept; None: nothing.
        starts: of the active model, while it is on trial, that did not end in order.
        newest: highest version that was ever marked good, by name.
        events: what happened, the newest last.
    """

    format: Literal[1] = 1
    active: SlotName | None = None
    slots: dict[SlotName, Slot | None] = Field(default_factory=_empty)
    starts: Annotated[int, Field(ge=0, le=_MOST_STARTS)] = 0
    newest: dict[_Name, _Version] = Field(default_factory=dict)
    events: list[Event] = Field(default_factory=list, max_length=MOST_EVENTS)

    @model_validator(mode="after")
    def _whole(self) -> State:
        if set(self.slots) != {"a", "b"}:
            raise ValueError("there are not two slots")
        if self.active is not None and self.slots[self.active] is None:
            raise ValueError("the active slot is empty")
        return self

    @property
    def running(self) -> Slot | None:
        """The active model."""
        return None if self.active is None else self.slots[self.active]

    @property
    def other_name(self) -> SlotName:
        """The slot that is not active; a where none is."""
        return "b" if self.active == "a" else "a"

    @property
    def other(self) -> Slot | None:
        """The model that does not run."""
        return self.slots[self.other_name]

    @property
    def on_trial(self) -> bool:
        """Whether the active model is on trial."""
        return self.running is not None and self.running.standing == "trial"

    @property
    def free(self) -> SlotName:
        """The slot for the next model: never that of the model that one would go back to."""
        has_other = self.other is not None and self.other.standing != "failed"
        if self.active is not None and has_other and self.on_trial:
            return self.active
        return self.other_name

    def floor(self, name: str) -> str | None:
        """Return the version below which a model of this name is an older one; None: none is."""
        known = [self.newest[name]] if name in self.newest else []
        if self.running is not None and self.running.name == name:
            known.append(self.running.version)
        return max(known, key=version_key, default=None)

    def with_event(self, what: str, text: str, time: str) -> State:
        """Return the record with one more event."""
        event = Event.model_validate({"time": time, "what": what, "text": text[:_MOST_TEXT]})
        return self._with(events=[*self.events, event][-MOST_EVENTS:])

    def installed(self, slot: Slot, time: str) -> State:
        """Return the record with a new model that is active and on trial."""
        name = self.free
        changed = self._with(active=name, starts=0, slots={**self.slots, name: slot})
        text = f"{slot.title}, signed by {slot.key}, is on trial in slot {name}"
        return changed.with_event("installed", text, time)

    def started(self, change: int) -> State:
        """Return the record with a start of the model on trial counted, or taken back."""
        return self._with(starts=min(max(0, self.starts + change), _MOST_STARTS))

    def marked_good(self, time: str) -> State:
        """Return the record with the active model no longer on trial."""
        if self.active is None or self.running is None:
            return self
        slot = self.running.model_copy(update={"standing": "good", "reason": None})
        newest = {**self.newest}
        known = newest.get(slot.name, slot.version)
        newest[slot.name] = max(known, slot.version, key=version_key)
        changed = self._with(starts=0, slots={**self.slots, self.active: slot}, newest=newest)
        return changed.with_event("marked good", f"{slot.title} has passed its trial", time)

    def rolled_back(self, reason: str, time: str, *, failed: bool) -> State:
        """Return the record with the other slot active; the same where it is empty.

        Args:
            reason: why.
            time: when.
            failed: whether the model that ran so far has failed; one on trial has in any case.
        """
        old, other = self.running, self.other
        if self.active is None or old is None or other is None:
            return self
        if failed or old.standing == "trial":
            old = old.model_copy(update={"standing": "failed", "reason": reason[:_MOST_TEXT]})
        if other.standing == "failed":
            other = other.model_copy(update={"standing": "trial", "reason": None})
        slots: dict[SlotName, Slot | None] = {self.active: old, self.other_name: other}
        changed = self._with(active=self.other_name, starts=0, slots=slots)
        text = f"from {old.title} to {other.title}: {reason}"
        return changed.with_event("rolled back", text, time)

    def _with(self, **changes: object) -> State:
        return State.model_validate({**dict(self), **changes})


def slot_of(manifest: Manifest, folder: str, key: str, time: str) -> Slot:
    """Return the slot of a bundle that was installed just now."""
    return Slot(
        folder=folder,
        name=manifest.name,
        version=manifest.version,
        targets=manifest.targets,
        kind=manifest.kind,
        sha256=manifest.sha256,
        key=key,
        installed=time,
    )


def state_bytes(state: State) -> bytes:
    """Return a record as it is stored."""
    return (json_text(state.model_dump()) + "\n").encode("utf-8")


def parse_state(content: bytes, subject: object) -> State:
    """Read a record.

    Raises:
        DataError: it is damaged.
    """
    try:
        parse_json(content)
        state = State.model_validate_json(content)
        missing = sorted(set(State.model_fields) - state.model_fields_set)
        if not missing:
            return state
        finding = f"is damaged ({missing[0]} is missing)"
    except UnreadableFileError as error:
        finding = str(error)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        finding = f"is damaged ({place[:80]}: {first['msg'][:120]})"
    remedy = "take the store away, and install the model again"
    raise DataError(subject, finding, remedy)
