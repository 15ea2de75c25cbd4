"""What interrupts the main thread waits for the end of a block that must not be cut short."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _Held:
    """What goes on in the main thread, which alone runs handlers of signals.

    Attributes:
        depth: blocks that it is in.
        error: what is to be raised behind them.
    """

    depth = 0
    error: BaseException | None = None


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let `interrupt` wait for the end of this block; keep it short.

    Raises:
        BaseException: at the end of the block, what `interrupt` was given in it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        if not _Held.depth and _Held.error is not None:
            interrupt(_Held.error)


def interrupt(error: BaseException) -> None:
    """Raise an error in the main thread, for the handler of a signal.

    Args:
        error: raised here, or where the block ends that `held_back` guards.
    """
    if _Held.depth:
        _Held.error = error
        return
    _Held.error = None
    raise error
