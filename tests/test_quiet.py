"""Catching what native code prints leaves descriptor 2 as it was, whatever runs beside it."""

from __future__ import annotations

import os
import threading
from typing import Any

import cv2
import numpy as np
import pytest

from qlvit_edge.imagefile import native
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
