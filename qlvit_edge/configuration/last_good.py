"""The last configuration that was good: a copy, which a service starts from.

What a person edits may be half-done, wrong or gone at any time, also when the machine starts. The
copy is replaced by one that was checked, in one step, or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qlvit_edge.files import atomic_path
from qlvit_edge.reading import UnreadableFileError, read_regular
from qlvit_edge.tomlfile import MAX_TOML_BYTES

if TYPE_CHECKING:
    from qlvit_edge.configuration.document import Document

EDITED: Final = Path("/etc/qlvit-edge/run.toml")
"""What a person edits."""

GOOD: Final = Path("/var/lib/qlvit-edge/run.good.toml")
"""What the service starts from."""

_MODE = 0o600  # it may hold a camera's password


def content_of(path: Path) -> bytes | None:
    """Return what a file of settings holds; None where it cannot be read."""
    try:
        return read_regular(path, MAX_TOML_BYTES)
    except (OSError, UnreadableFileError):
        return None


def is_applied(document: Document, good: Path) -> bool:
    """Tell whether the copy says the same to the byte."""
    return content_of(good) == document.content


def keep_as_good(document: Document, good: Path) -> None:
    """Put a file that was checked in place of the copy, for whoever owns its folder.

    Raises:
        OSError: the folder cannot be written.
    """
    with atomic_path(good, mode=_MODE) as temporary:
        temporary.write_bytes(document.content)
        if os.geteuid() == 0:  # the service, which is another user, must be able to read it
            owner = good.parent.stat()
            os.chown(temporary, owner.st_uid, owner.st_gid)
