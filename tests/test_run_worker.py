"""The thread in which a run's frames are answered: in order, one ahead, and its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.worker import Worker

SECONDS = 20.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def items(worker: Worker[int], count: int) -> None:
    for number in range(count):
        assert worker.has_room(lambda: False)
        worker.give(number)


def test_what_is_given_is_done_in_order_before_the_worker_is_left() -> None:
    done: list[int] = []
    with Worker[int](done.append, failed=lambda: None) as worker:
        items(worker, 20)
    assert done == list(range(20))


def test_one_item_waits_and_no_more() -> None:
    release = threading.Event()
    with Worker[int](lambda _: release.wait(SECONDS) and None, failed=lambda: None) as worker:
        items(worker, 2)
        assert worker.has_room(lambda: True) is False
        release.set()
        assert worker.has_room(lambda: False)


def test_what_the_work_raises_reaches_who_gives() -> None:
    failed: list[bool] = []

    def work(number: int) -> None:
        if number == 2:
            raise DataError("a", "b", "c")

    def give_all() -> None:
        with Worker[int](work, failed=lambda: failed.append(True)) as worker:
            items(worker, 10)

    with pytest.raises(DataError, match="a: b; c"):
        give_all()
    assert failed == [True]


def test_an_error_of_the_last_item_is_not_lost() -> None:
    def fail(_: int) -> None:
        raise ValueError("late")

    def give_one() -> None:
        with Worker[int](fail, failed=lambda: None) as worker:
            worker.give(1)

    with pytest.raises(ValueError, match="late"):
        give_one()


@pytest.mark.parametrize("error", [DataError("a", "b", "c"), KeyboardInterrupt()])
def test_who_leaves_for_an_error_does_what_waits_and_who_is_interrupted_does_not(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlvit_edge.microscope import worker as module

    monkeypatch.setattr(module, "_LEAVE_SECONDS", 0.05)
    done: list[int] = []
    begun, release = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.set()
        assert release.wait(SECONDS)
        done.append(number)

    def leave() -> Iterator[None]:
        with Worker[int](work, failed=lambda: None) as worker:
            worker.give(0)
            assert begun.wait(SECONDS)
            worker.give(1)
            if isinstance(error, Exception):
                release.set()
            raise error
        yield

    with pytest.raises(type(error)):
        list(leave())
    assert done == ([0, 1] if isinstance(error, Exception) else [])
    release.set()
    until(lambda: not [one for one in threading.enumerate() if one.name == "answers"])
    assert done == ([0, 1] if isinstance(error, Exception) else [0])
