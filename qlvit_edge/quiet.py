"""Keep the chatter of native libraries off the user's terminal.

OpenCV, FFmpeg and TFLite write notes of their own to file descriptor 2, past Python; our
errors say in one line what is wrong, so those notes are caught and dropped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.RLock()


@contextlib.contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to nowhere, for this block.

    The descriptor belongs to the whole process: keep the block short.
    """
    with _lock:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # there is no descriptor 2: nothing to silence
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)
