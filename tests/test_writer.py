"""The writer stores in order, holds back, and passes errors on."""

from __future__ import annotations

import threading
import time

import pytest

from qlvit_edge.microscope.writer import MOST_WAITING, Writer


def test_everything_is_stored_in_order_before_the_writer_is_left() -> None:
    stored: list[int] = []

    def slowly(number: int) -> None:
        time.sleep(0.002)
        stored.append(number)

    with Writer(slowly) as writer:
        for number in range(20):
            writer.put(number)
    assert stored == list(range(20))


def test_the_work_goes_on_while_the_disk_is_slow() -> None:
    release = threading.Event()
    with Writer[int](lambda number: assert_set(release)) as writer:
        started = time.monotonic()
        for number in range(MOST_WAITING):
            writer.put(number)
        assert time.monotonic() - started < 1
        release.set()


def assert_set(event: threading.Event) -> None:
    assert event.wait(5)


def test_results_wait_rather_than_pile_up() -> None:
    release = threading.Event()
    handed_over = 0
    with Writer[int](lambda number: assert_set(release)) as writer:

        def hand_over() -> None:
            nonlocal handed_over
            for number in range(MOST_WAITING + 10):
                writer.put(number)
                handed_over += 1

        thread = threading.Thread(target=hand_over)
        thread.start()
        time.sleep(0.2)
        assert handed_over <= MOST_WAITING + 1
        release.set()
        thread.join()
    assert handed_over == MOST_WAITING + 10


def fail_at_2(stored: list[int], number: int) -> None:
    if number == 2:
        raise OSError("disk full")
    stored.append(number)


def store_all(numbers: range, stored: list[int]) -> None:
    with Writer[int](lambda number: fail_at_2(stored, number)) as writer:
        for number in numbers:
            writer.put(number)


def test_an_error_reaches_the_worker_and_nothing_is_stored_after_it() -> None:
    stored: list[int] = []
    with pytest.raises(OSError, match="disk full"):
        store_all(range(1000), stored)
    assert stored == [0, 1]


def test_an_error_at_the_very_end_is_not_lost() -> None:
    with pytest.raises(OSError, match="disk full"):
        store_all(range(3), [])


def leave_with_something_waiting(stored: list[int]) -> None:
    with Writer(stored.append) as writer:
        writer.put(1)
        raise KeyError


def test_leaving_for_another_reason_still_stores_what_waits() -> None:
    stored: list[int] = []
    with pytest.raises(KeyError):
        leave_with_something_waiting(stored)
    assert stored == [1]
