"""A disk that is full: files of this process that can't grow."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_limited(size: int) -> Iterator[None]:
    """Let no file that this process writes to grow beyond ``size`` bytes.

    Also not the one that pytest's own output may go to: nothing of a test but the command under it
    belongs inside, and no fixture may hold the limit, since pytest writes before it is torn down.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
