"""A bundle becomes the model that runs: verified, written, tested where it will run, switched.

Until the last step nothing that runs is touched: the model is written beside the two that are kept,
read back, verified again, and run. Then one rename makes it the active one, on trial.
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qlvit_edge.delivery.bundle import Bundle, read_bundle
from qlvit_edge.delivery.examination import Engine, Examined, examine
from qlvit_edge.delivery.keys import TrustedKey
from qlvit_edge.delivery.manifest import Manifest, version_key
from qlvit_edge.delivery.state import Slot, SlotName, State, slot_of
from qlvit_edge.delivery.store import Kept, Store, now
from qlvit_edge.errors import DataError, DeviceError, ModelFileError

Examiner = Callable[[Path, Manifest, Engine], Examined]

_MACHINES = {"arm64": "aarch64", "armv8l": "armv7l", "AMD64": "x86_64"}


@dataclass(frozen=True)
class Installation:
    """What an installation did.

    Attributes:
        outcome: whether the model was installed, or ran already.
        slot: where it is.
        model: what is kept.
        examined: what its tests found; None where it ran already.
        replaces: name and version of the model that ran before; None for the first one.
        seconds: by step.
    """

    outcome: Literal["installed", "already installed"]
    slot: SlotName
    model: Slot
    examined: Examined | None = None
    replaces: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Installer:
    """Installs bundles in one store.

    Attributes:
        store: the store.
        keys: whose signatures count.
        engine: what models are to run on.
        allow_older: whether an older version may take a newer one's place.
    """

    def __init__(
        self,
        store: Store,
        keys: Sequence[TrustedKey],
        engine: Engine,
        *,
        allow_older: bool = False,
        examiner: Examiner = examine,
    ) -> None:
        self.store, self.keys, self.engine = store, keys, engine
        self.allow_older = allow_older
        self._examine = examiner
        self._seconds: dict[str, float] = {}

    def install(self, path: Path) -> Installation:
        """Install a bundle; it runs from the next start on, at first on trial.

        Raises:
            ModelFileError: the bundle is damaged or hostile, no trusted key signed it, or the model
                cannot be used.
            DeviceError: it is for other devices; another installation goes on; the runtime fails.
            DataError: it is older than what runs, or the store is damaged.
            GateError: it is wrong or too slow here.
            OSError: the store cannot be written.

        After any of them the model that ran is the active one, and so after a power cut.
        """
        self._seconds = {}
        with self._step("verify"):
            bundle = read_bundle(path, self.keys)
            require_target(bundle.manifest, self.engine, path)
        self.store.make()
        with self.store.installing():
            self.store.sweep()
            before = self.store.read()
            running = before.running
            if running is not None and self._runs_already(running, bundle):
                name = before.active or "a"
                return Installation("already installed", name, running, seconds=self._seconds)
            self._require_newer(before, bundle.manifest, path)
            folder = secrets.token_hex(8)
            try:
                slot, examined = self._bring(folder, bundle)
            except BaseException:
                self.store.discard(folder)
                raise
            self.store.sweep()
        replaces = None if running is None else running.title
        state = self.store.read()
        return Installation(
            "installed", state.active or "a", slot, examined, replaces, self._seconds
        )

    def _bring(self, folder: str, bundle: Bundle) -> tuple[Slot, Examined]:
        """Write, read back, test and switch."""
        slot = slot_of(bundle.manifest, folder, bundle.key, now())
        with self._step("write"):
            self.store.add(folder, bundle)
        with self._step("read back"):
            kept: Kept = self.store.kept(slot, self.keys)
        with self._step("test"):
            examined = self._examine(kept.path, bundle.manifest, self.engine)
        with self._step("switch"), self.store.changing():
            self.store.write(self.store.read().installed(slot, now()))
        return slot, examined

    def _runs_already(self, running: Slot, bundle: Bundle) -> bool:
        """Whether the active model is this very one, whole, and has not failed."""
        if running.standing == "failed":
            return False
        try:
            return self.store.kept(running, self.keys).bundle.head == bundle.head
        except ModelFileError:
            return False

    def _require_newer(self, state: State, manifest: Manifest, path: Path) -> None:
        """Refuse an older version, and another model under a version that is in use."""
        if self.allow_older:
            return
        floor, running = state.floor(manifest.name), state.running
        if floor is None:
            return
        new, known = version_key(manifest.version), version_key(floor)
        if new < known:
            remedy = "install a newer one, or say --allow-downgrade; `models rollback` goes back"
            raise DataError(path, f"{manifest.title} is older than {floor}", remedy)
        changed = running is not None and running.sha256 != manifest.sha256
        same_name = running is not None and running.name == manifest.name
        if new == known and same_name and changed:
            finding = f"is another model than the {manifest.title} that is installed"
            remedy = "sign it with a version of its own, or say --allow-downgrade"
            raise DataError(path, finding, remedy)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - started


def this_target() -> str:
    """Return what this device's processor is called among targets."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def require_target(manifest: Manifest, engine: Engine, subject: object) -> None:
    """Refuse a model that is for other devices.

    Raises:
        DeviceError: naming this one, and those it is for.
    """
    here = this_target()
    if here in manifest.targets:
        return
    if "edgetpu" in manifest.targets:
        if engine.delegate is not None:
            return
        remedy = "name its library with --delegate, or give a bundle for the processor"
        raise DeviceError(subject, f"{manifest.title} is for an Edge TPU", remedy)
    finding = f"{manifest.title} is for {', '.join(manifest.targets)}, this device is {here}"
    raise DeviceError(subject, finding, "give a bundle for this device")
