"""What `deploy` goes back to where the device says that a model may not be used."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from qlvit_edge.deployment.deploy import Deployment, Manner
from qlvit_edge.deployment.parcel import Parcel
from qlvit_edge.deployment.ssh import Answer
from qlvit_edge.errors import GateError

GOOD = {"standing": "good", "usable": True}
FAILED = {"standing": "failed", "usable": True}
CHANGED = {"standing": "good", "usable": False}


class Refusing:
    """A device on which every model fails validation."""

    address = "pi@microscope"

    def __init__(self, other: dict[str, object] | None) -> None:
        self.slots = {"a": GOOD, "b": other}
        self.commands: list[tuple[str, ...]] = []

    def run(self, *words: str) -> Answer:
        self.commands.append(words)
        if words[1:3] == ("models", "status"):
            return Answer(0, json.dumps({"active": "a", "slots": self.slots}).encode(), "")
        return Answer(int(words[1] == "validate"), b"{}", "")

    def done(self, *words: str) -> bytes:
        return b"{}"

    def size(self, path: str) -> int:
        return 0

    def hash_of(self, path: str) -> str:
        return Path(path).stem


@pytest.mark.parametrize(
    ("other", "goes_back"), [(GOOD, True), (FAILED, False), (CHANGED, False), (None, False)]
)
def test_a_model_that_failed_is_never_gone_back_to(
    other: dict[str, object] | None, goes_back: bool, tmp_path: Path
) -> None:
    (tmp_path / "images.tar").touch()
    device: Any = Refusing(other)
    manner = Manner(restart=False)
    bar: Any = nullcontext
    deployment = Deployment(device, manner, say=lambda text: None, progress=bar)
    said = "is in use again" if goes_back else "no model to go back to that has not failed"
    with pytest.raises(GateError, match=said):
        deployment.validate(Parcel(tmp_path / "images.tar", 1), tmp_path, None, ())
    rollback = ("qlvit-edge", "models", "rollback", "--json")
    assert (rollback in device.commands) is goes_back
