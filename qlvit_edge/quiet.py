"""Keep the chatter of native libraries off the user's terminal.

OpenCV, FFmpeg, libjpeg and TFLite write notes of their own to file descriptor 2, past
Python; our errors say in one line what is wrong, so those notes are caught here. Nothing
else in the package moves that descriptor: two that did so independently would leave it
pointing to the wrong file for good.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

from qlvit_edge.interruption import held_back

_lock = threading.RLock()
# No process is forked while descriptor 2 is elsewhere, nor with the lock held.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


@contextlib.contextmanager
def native_stderr_silenced() -> Iterator[BinaryIO]:
    """Send what native code writes to file descriptor 2 to a file in memory, for this block.

    The descriptor belongs to the whole process: keep the block short. Other threads wait, and so
    does a request to stop (`held_back`).

    Yields:
        The file, where what was written can be read from inside the block.
    """
    with held_back(), _lock, memory_file() as capture:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # started without a standard error: nothing to silence
            yield capture
            return
        try:
            os.dup2(capture.fileno(), 2)
            yield capture
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def memory_file() -> BinaryIO:
    """Return a new file that is open for reading and writing and has no name."""
    if sys.platform == "linux":  # works with a full disk too
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
