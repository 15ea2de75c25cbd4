"""Bundles, keys and stores for tests, and whether a store comes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faulty_disk import QuickDisk

from qlvit_edge.delivery.bundle import pack, signed_bytes
from qlvit_edge.delivery.disk import Disk
from qlvit_edge.delivery.examination import Engine, Examined
from qlvit_edge.delivery.install import Installation, Installer
from qlvit_edge.delivery.keys import TrustedKey
from qlvit_edge.delivery.manifest import Manifest, SelfTest
from qlvit_edge.delivery.status import go_back
from qlvit_edge.delivery.store import Kept, Store
from qlvit_edge.delivery.trial import MOST_STARTS, Started, Trials
from qlvit_edge.errors import DeviceError
from qlvit_edge.files import sha256

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [TrustedKey("lab", PRIVATE.public_key())]
OLDER, OLD, NEW = "0.9", "1.0", "1.1"


def manifest_of(model: bytes, version: str = OLD, **changes: object) -> Manifest:
    """Return the manifest of some bytes; nothing is run."""
    said: dict[str, object] = {
        "name": "tiny",
        "version": version,
        "targets": ["x86_64", "aarch64", "armv7l"],
        "kind": "tflite",
        "bytes": len(model),
        "sha256": sha256(model),
        "self_test": SelfTest(images="0" * 64, labels=[0], answers={}),
        "signed": "2026-01-02T03:04:05Z",
        "program": "tests",
    }
    return Manifest.model_validate({**said, **changes})


def bundle_of(model: bytes, manifest: Manifest, key: Ed25519PrivateKey = PRIVATE) -> bytes:
    """Return a signed bundle."""
    text = manifest.model_dump_json().encode()
    return pack(text, key.sign(signed_bytes(text)), model)


def small_bundle(version: str, **changes: object) -> bytes:
    """Return a bundle whose model is a few bytes that say the version."""
    model = f"model {version} ".encode() * 30
    return bundle_of(model, manifest_of(model, version, **changes))


def write_bundles(folder: Path) -> None:
    """Write one bundle of each version."""
    for version in (OLDER, OLD, NEW):
        (folder / f"{version}.qlvit").write_bytes(small_bundle(version))


def unexamined(path: Path, manifest: Manifest, engine: Engine) -> Examined:
    """Take every model for right."""
    return Examined("none", "", "", 0.0)


def installed(store: Path, bundles: Path, version: str, disk: Disk | None = None) -> Installation:
    """Install one of the bundles, without running it."""
    place = Store(store, QuickDisk() if disk is None else disk)
    installer = Installer(place, KEYS, Engine(), examiner=unexamined)
    return installer.install(bundles / f"{version}.qlvit")


def trials(store: Path, disk: Disk | None = None) -> Trials:
    """The starts of a store."""
    return Trials(Store(store, QuickDisk() if disk is None else disk), KEYS, lambda text: None)


def pass_trial(store: Path) -> None:
    """Let the active model pass."""
    runs = trials(store)
    started = runs.begin()
    runs.mark_good(started)
    runs.end(started)


@dataclass(frozen=True)
class Change:
    """Something that is done to a store, at each step of which it may fail.

    Attributes:
        before: makes what is there before.
        change: does it, on a disk.
        outcomes: versions that may run afterwards; None: nothing is installed. The last one runs
            where nothing failed.
    """

    before: Callable[[Path, Path], None]
    change: Callable[[Path, Path, Disk], None]
    outcomes: tuple[str | None, ...]


def _old_good(store: Path, bundles: Path) -> None:
    installed(store, bundles, OLD)
    pass_trial(store)


def _full(store: Path, bundles: Path) -> None:
    installed(store, bundles, OLDER)
    pass_trial(store)
    _old_good(store, bundles)


def _on_trial(store: Path, bundles: Path) -> None:
    _old_good(store, bundles)
    installed(store, bundles, NEW)


def _worn_out(store: Path, bundles: Path) -> None:
    _on_trial(store, bundles)
    for _ in range(MOST_STARTS):
        trials(store).begin()


def _replaced_on_trial(store: Path, bundles: Path) -> None:
    installed(store, bundles, OLDER)
    pass_trial(store)
    installed(store, bundles, OLD)


def _install_new(store: Path, bundles: Path, disk: Disk) -> None:
    installed(store, bundles, NEW, disk)


def _run(store: Path, bundles: Path, disk: Disk) -> None:
    runs = trials(store, disk)
    runs.end(runs.begin())


def _pass(store: Path, bundles: Path, disk: Disk) -> None:
    runs = trials(store, disk)
    runs.mark_good(runs.begin())


def _fail(store: Path, bundles: Path, disk: Disk) -> None:
    runs = trials(store, disk)
    runs.roll_back(runs.begin(), "it is slow")


def _go_back(store: Path, bundles: Path, disk: Disk) -> None:
    go_back(Store(store, disk), KEYS)


CHANGES = {
    "first installation": Change(lambda store, bundles: None, _install_new, (None, NEW)),
    "installation": Change(_old_good, _install_new, (OLD, NEW)),
    "installation over two": Change(_full, _install_new, (OLD, NEW)),
    "installation over a trial": Change(_replaced_on_trial, _install_new, (OLDER, OLD, NEW)),
    "start on trial": Change(_on_trial, _run, (NEW,)),
    "mark good": Change(_on_trial, _pass, (NEW,)),
    "roll back": Change(_on_trial, _fail, (NEW, OLD)),
    "roll back after starts": Change(_worn_out, _run, (OLD,)),
    "roll back by hand": Change(_full, _go_back, (OLD, OLDER)),
}
"""Everything that changes a store."""


def comes_up(store: Path) -> Kept | None:
    """Start a run on a store, as the device does; None where nothing is installed.

    Raises:
        AssertionError: what it gets is not, byte for byte, a bundle that was signed.
    """
    if Store(store).read().running is None:
        with pytest.raises(DeviceError, match="no model is installed"):
            trials(store).begin()
        return None
    started: Started = trials(store).begin()
    bundle = started.kept.bundle
    assert bundle.head + bundle.model == small_bundle(bundle.manifest.version)
    assert started.kept.path.read_bytes() == bundle.model
    return started.kept


def fault_of(store: Path, bundles: Path, change: Change, *, goes_on: bool = True) -> str | None:
    """Return what is wrong with a store after a fault: in which model comes up, or afterwards.

    Args:
        store: the store; it is changed.
        bundles: the bundles.
        change: what was going on.
        goes_on: look too whether it takes the next installation, and keeps no more than two.
    """
    try:
        kept = comes_up(store)
        version = None if kept is None else kept.slot.version
        if version not in change.outcomes:
            return f"came up with {version}"
        if not goes_on:
            return None
        installed(store, bundles, NEW)
        again = comes_up(store)
        if again is None or again.slot.version != NEW:
            return "did not take the next installation"
        if len(list((store / "models").iterdir())) > 2:
            return "keeps more than two models"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
