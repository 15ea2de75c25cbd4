"""Catching what native code prints leaves descriptor 2 as it was, whatever runs beside it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from types import FrameType
from typing import Any

import cv2
import numpy as np
import pytest

from qlvit_edge.imagefile import native
from qlvit_edge.microscope.stopping import Stopped, StopRequest
from qlvit_edge.preprocess import decode
from qlvit_edge.quiet import native_stderr_silenced


def _where() -> tuple[int, int]:
    status = os.fstat(2)
    return status.st_dev, status.st_ino


def test_decoding_beside_a_silenced_block_leaves_stderr_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    inside, go_on, plain = threading.Event(), threading.Event(), cv2.imdecode

    def slow(*arguments: Any) -> Any:
        inside.set()
        go_on.wait(5)
        return plain(*arguments)

    monkeypatch.setattr(native.cv2, "imdecode", slow)
    before = _where()
    other = threading.Thread(target=decode, args=(image,))
    with native_stderr_silenced():
        other.start()
        # The other thread must wait for this block to end.
        assert not inside.wait(0.3)
    go_on.set()
    other.join()
    assert _where() == before


def test_blocks_nest_and_what_was_written_can_be_read() -> None:
    before = _where()
    with native_stderr_silenced() as outer:
        with native_stderr_silenced() as inner:
            os.write(2, b"inner")
            inner.seek(0)
            assert inner.read() == b"inner"
        os.write(2, b"outer")
        outer.seek(0)
        assert outer.read() == b"outer"
    assert _where() == before


def test_a_request_to_stop_waits_for_the_end_of_the_block() -> None:
    before, ends = _where(), []
    with StopRequest() as stop, contextlib.suppress(Stopped), stop.interruptible():
        with native_stderr_silenced() as outer:
            with native_stderr_silenced() as inner:
                stop.wake()
                ends.append("inner")
            ends.append("outer")
        ends.append("behind")
    assert ends == ["inner", "outer"]
    assert inner.closed
    assert outer.closed
    assert _where() == before


def test_a_stop_anywhere_in_the_block_leaves_stderr_where_it_was() -> None:
    before, opened = _where(), sorted(os.listdir("/proc/self/fd"))
    lines = _lines_traced(0)
    assert lines > 20  # the block, what opens the file in memory, the manager's own
    for line in range(1, lines + 1):
        assert _lines_traced(line) >= line
        assert (_where(), sorted(os.listdir("/proc/self/fd"))) == (before, opened)


def _lines_traced(at: int) -> int:
    """Run a block that is stopped at the n-th line traced, 0 for never; return how many came."""
    count = 0

    def look(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == at:
                stop.end_run()
        return look

    before = sys.gettrace()
    with StopRequest() as stop, contextlib.suppress(Stopped), stop.interruptible():
        sys.settrace(look)
        try:
            with native_stderr_silenced():
                pass
        finally:
            sys.settrace(before)
    return count
