"""The store of a device: two models, and the record that says which one runs.

::

    STORE/state.json            the record; replaced in one step, never written in place
    STORE/models/<16 hex>/head  a bundle's first part: manifest and signature
    STORE/models/<16 hex>/model.tflite, or model.chain

Folders that the record does not name are nothing: an installation that was cut short, or models
that were replaced. A model is verified, signature and hash, every time it is asked for.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qlvit_edge.delivery.bundle import MOST_HEAD_BYTES, Bundle, read_file, unpack
from qlvit_edge.delivery.disk import (
    Disk,
    make_folders,
    remove_flat_folder,
    replace_file,
    write_file,
)
from qlvit_edge.delivery.keys import TrustedKey, keys_folder, trusted_keys
from qlvit_edge.delivery.manifest import MOST_MODEL_BYTES
from qlvit_edge.delivery.state import MOST_STATE_BYTES, Slot, State, parse_state, state_bytes
from qlvit_edge.errors import DataError, DeviceError, ModelFileError
from qlvit_edge.files import close_locked_file, lock_open_file
from qlvit_edge.reading import UnreadableFileError, read_regular

STORE_VARIABLE = "QLVIT_EDGE_STORE"
DEFAULT_STORE = Path("/var/lib/qlvit-edge/models")
STORE_RECORD = Path("/etc/qlvit-edge/store")
"""File in which the installer names another store."""

_MOST_RECORD_BYTES = 4096
INSTALLED = "installed"
"""What commands call the store's active model."""

_FOLDER = re.compile(r"[0-9a-f]{16}")
_LOOK_SECONDS = 0.05
_WAIT_SECONDS = 10.0


def store_folder(named: Path | None = None) -> Path:
    """Return the store: the one named, else ``QLVIT_EDGE_STORE``, else the installer's choice.

    Where the installer was given another folder for results, it says so in `STORE_RECORD`.
    """
    return named or Path(os.environ.get(STORE_VARIABLE) or _recorded() or DEFAULT_STORE)


def _recorded() -> str:
    try:
        return read_regular(STORE_RECORD, _MOST_RECORD_BYTES).decode().strip()
    except (FileNotFoundError, UnreadableFileError, UnicodeDecodeError):
        return ""


def now() -> str:
    """Return the time, UTC, as records and manifests have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Kept:
    """A model that was verified where it is kept.

    Attributes:
        slot: what the record says of it.
        path: its file.
        bundle: manifest and content.
    """

    slot: Slot
    path: Path
    bundle: Bundle


class Store:
    """A store.

    Attributes:
        folder: where it lies.
        disk: what its files are touched with.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self.disk = Disk() if disk is None else disk

    @property
    def models(self) -> Path:
        """The folder of the models."""
        return self.folder / "models"

    @property
    def record(self) -> Path:
        """The file of the record."""
        return self.folder / "state.json"

    def make(self) -> None:
        """Make the store where it is not there, and make sure of the record where it is.

        Its last change may be another process's, which was ended before it could do that.

        Raises:
            OSError: it cannot be made.
        """
        make_folders(self.disk, self.models)

    def read(self) -> State:
        """Return the record; an empty one where nothing was ever installed.

        Raises:
            DataError: it is damaged or cannot be read.
        """
        try:
            return parse_state(read_regular(self.record, MOST_STATE_BYTES), self.record)
        except FileNotFoundError:
            return State()
        except UnreadableFileError as error:
            remedy = "check the file and its permissions"
            raise DataError(self.record, str(error), remedy) from None

    def write(self, state: State) -> None:
        """Put a record in the place of the one that is there.

        Raises:
            OSError: it cannot be written; the old one holds.
        """
        replace_file(self.disk, self.record, state_bytes(state))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep others from changing the record meanwhile; waits for them a while.

        Raises:
            DeviceError: one does not end.
            OSError: there is no store.
        """
        with _locked(self.folder, _WAIT_SECONDS, "another command is changing it"):
            yield

    @contextmanager
    def installing(self) -> Iterator[None]:
        """Keep others from installing meanwhile.

        Raises:
            DeviceError: another installation goes on.
            OSError: there is no store.
        """
        with _locked(self.models, 0.0, "another model is being installed there"):
            yield

    def folder_of(self, name: str) -> Path:
        """Return a model's folder."""
        return self.models / name

    def path_of(self, slot: Slot) -> Path:
        """Return the file of a model."""
        return self.folder_of(slot.folder) / model_name(slot.kind)

    def add(self, name: str, bundle: Bundle) -> None:
        """Write a bundle into a folder of its own, for good; the record does not name it yet.

        Raises:
            OSError: it cannot be written; a part may be left, see `sweep`.
        """
        folder = self.folder_of(name)
        self.disk.make_folder(folder)
        write_file(self.disk, folder / "head", bundle.head)
        write_file(self.disk, folder / model_name(bundle.manifest.kind), bundle.model)
        self.disk.sync_folder(folder)
        self.disk.sync_folder(self.models)

    def kept(self, slot: Slot, keys: Sequence[TrustedKey]) -> Kept:
        """Read a model where it is kept, and verify it.

        Raises:
            ModelFileError: a part is missing or was changed, no trusted key signed it, or it is
                not the one that the record names.
        """
        path = self.path_of(slot)
        head = read_file(path.with_name("head"), MOST_HEAD_BYTES)
        bundle = unpack(head + read_file(path, MOST_MODEL_BYTES), keys, path)
        manifest = bundle.manifest
        if (manifest.title, manifest.sha256) != (slot.title, slot.sha256):
            finding = f"is {manifest.title}, where the store says {slot.title}"
            raise ModelFileError(path, finding, "install the model again")
        return Kept(slot, path, bundle)

    def sweep(self) -> None:
        """Remove what the record does not name, while `installing` is held.

        What cannot be removed stays; it does no harm.
        """
        with suppress(DataError, OSError):
            for name in sorted(os.listdir(self.models)):
                if _FOLDER.fullmatch(name):
                    self.discard(name)

    def discard(self, name: str) -> None:
        """Remove a model's folder, unless the record names it; what cannot be removed stays."""
        with suppress(DataError, OSError):
            named = [slot.folder for slot in self.read().slots.values() if slot is not None]
            if name not in named:
                remove_flat_folder(self.disk, self.folder_of(name))


def model_name(kind: str) -> str:
    """Return what a model's file is called."""
    return f"model.{kind}"


def active_model(store: Path | None = None, keys: Path | None = None) -> Path:
    """Return the file of the model that is installed, verified; nothing is counted or changed.

    Args:
        store: the store; None: see `store_folder`.
        keys: folder of the trusted keys; None: see `keys_folder`.

    Raises:
        DeviceError: nothing is installed.
        ModelFileError: what is installed was changed, or no trusted key signed it.
        DataError: the store or the keys cannot be read.
    """
    place = Store(store_folder(store))
    trusted = trusted_keys(keys_folder(keys))
    slot = place.read().running
    if slot is None:
        raise nothing_installed(place)
    try:
        return place.kept(slot, trusted).path
    except ModelFileError:
        newer = place.read().running
        if newer is None or newer == slot:
            raise
        return place.kept(newer, trusted).path  # it was replaced meanwhile


def nothing_installed(store: Store) -> DeviceError:
    """Return the error that a store is empty."""
    remedy = "install one: qlvit-edge models install FILE, or name the store in QLVIT_EDGE_STORE"
    return DeviceError(store.folder, "no model is installed", remedy)


@contextmanager
def _locked(folder: Path, seconds: float, finding: str) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + seconds
        while not lock_open_file(descriptor):
            if time.monotonic() >= until:
                raise DeviceError(folder, finding, "wait for it, then run this again")
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        close_locked_file(descriptor)
