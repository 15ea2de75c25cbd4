"""A function in a process of its own, without loading everything anew."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable


def fork(action: Callable[[], object]) -> int:
    """Run ``action`` in a child; returns its process number.

    To be called before this process opens a database: SQLite in a child takes its parent's locks
    for its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no thread of ours
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; returns its exit code, below 0 where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
