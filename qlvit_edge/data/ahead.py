"""Batches that are prepared in background threads while the caller works on earlier ones.

OpenCV and NumPy let other threads run while they compute. What is made does not depend on how
many threads make it, nor on which is done first: it is handed out in order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Made = TypeVar("Made")

UPCOMING: Final = 2
"""Batches that each thread may be ahead of the caller."""

_MOST_THREADS: Final = 8


def background_threads() -> int:
    """Return how many threads prepare batches: one core is left to the caller."""
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 1) - 1))


def ahead(makers: Iterable[Callable[[], Made]], threads: int) -> Iterator[Made]:
    """Call functions in background threads and yield what they return, in their order.

    Args:
        makers: the functions; asked for as they are needed, at most `UPCOMING` per thread ahead.
        threads: that call them; 0: they are called when their result is asked for.

    Raises:
        Exception: what a function raised, in its place.
    """
    if threads == 0:
        for make in makers:
            yield make()
        return
    upcoming: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    try:
        for make in makers:
            upcoming.append(pool.submit(make))
            if len(upcoming) > UPCOMING * threads:
                yield upcoming.popleft().result()
        while upcoming:
            yield upcoming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
