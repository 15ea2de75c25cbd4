"""The writer stores in order and in groups, waits out locks, holds back, and passes errors on."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qlvit_edge.microscope.sqlite_errors import FullDiskError, LockedError, speaking
from qlvit_edge.microscope.writer import MOST_FRAMES_AHEAD, Patience, Steps, Writer

AT_ONCE = Patience(group_seconds=0.0)


@dataclass(frozen=True)
class Noted:
    """A number as the writer keeps it."""

    number: int
    rows: int = 1


@dataclass
class Store:
    """Where the numbers go; says "locked" until it is opened.

    Attributes:
        groups: the numbers of each transaction.
        said: what a user would be told.
        locked: nothing can be stored while this is set.
    """

    groups: list[list[int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    locked: threading.Event = field(default_factory=threading.Event)

    def add(self, records: Sequence[Noted]) -> None:
        if self.locked.is_set():
            raise LockedError("r.sqlite", "another program has locked it", "wait")
        self.groups.append([record.number for record in records])

    def writer(self, patience: Patience = AT_ONCE, **steps: Any) -> Writer[int, Noted]:
        chosen = {"note_down": Noted, "store": self.add, "say": self.said.append, **steps}
        return Writer(Steps("r.sqlite", **chosen), patience)

    @property
    def stored(self) -> list[int]:
        return [number for group in self.groups for number in group]


@pytest.fixture
def store() -> Store:
    return Store()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def hand_over(writer: Writer[int, Noted], numbers: range) -> threading.Thread:
    """Put numbers from a thread of their own, which may have to wait."""

    def put() -> None:
        for number in numbers:
            writer.put(number)

    thread = threading.Thread(target=put)
    thread.start()
    return thread


def test_everything_is_stored_in_order_before_the_writer_is_left(store: Store) -> None:
    with store.writer() as writer:
        for number in range(20):
            writer.put(number)
    assert store.stored == list(range(20))


def test_what_comes_within_a_group_s_time_is_stored_together(store: Store) -> None:
    with store.writer(Patience(group_seconds=0.3)) as writer:
        for number in range(10):
            writer.put(number)
        assert store.groups == []
        until(lambda: store.groups == [list(range(10))])
        writer.put(10)
        # Leaving does not wait for the group's time.
        left = time.monotonic()
    assert time.monotonic() - left < 0.25
    assert store.groups == [list(range(10)), [10]]


def test_a_slow_disk_is_asked_less_often(store: Store) -> None:
    def slow(records: Sequence[Noted]) -> None:
        store.add(records)
        time.sleep(0.1)

    with store.writer(store=slow) as writer:
        writer.put(0)
        until(lambda: store.groups == [[0]])
        for number in range(1, 5):
            writer.put(number)
            time.sleep(0.03)
    assert store.groups == [[0], [1, 2, 3, 4]]


def test_the_work_goes_on_while_the_disk_is_slow(store: Store) -> None:
    release = threading.Event()

    def slow(number: int) -> Noted:
        assert release.wait(5)
        return Noted(number)

    with store.writer(note_down=slow) as writer:
        started = time.monotonic()
        for number in range(MOST_FRAMES_AHEAD):
            writer.put(number)
        assert time.monotonic() - started < 1
        thread = hand_over(writer, range(MOST_FRAMES_AHEAD, MOST_FRAMES_AHEAD + 10))
        time.sleep(0.1)
        # Pictures wait outside rather than pile up.
        assert thread.is_alive()
        release.set()
        thread.join()
    assert store.stored == list(range(MOST_FRAMES_AHEAD + 10))


def test_while_the_file_is_locked_the_work_goes_on_and_it_is_said(store: Store) -> None:
    store.locked.set()
    with store.writer() as writer:
        for number in range(100):
            writer.put(number)
        assert store.groups == []
        assert store.said == [
            "r.sqlite: another program has locked it; the run goes on, its frames wait in "
            "memory (for 300 s at most)"
        ]
        store.locked.clear()
        until(lambda: len(store.stored) == 100)
    assert store.stored == list(range(100))
    assert len(store.groups) < 5
    assert "free again after" in store.said[1]
    assert "frames that waited are stored" in store.said[1]
    assert len(store.said) == 2


def test_too_much_that_waits_for_a_lock_holds_the_run_back_and_loses_nothing(store: Store) -> None:
    store.locked.set()
    with store.writer(
        Patience(group_seconds=0.0, most_rows=30), note_down=lambda number: Noted(number, rows=3)
    ) as writer:
        thread = hand_over(writer, range(60))
        until(lambda: writer._rows == 30)
        time.sleep(0.05)
        assert thread.is_alive()
        assert writer._rows == 30
        store.locked.clear()
        thread.join(5)
    assert store.stored == list(range(60))


def leave_locked(store: Store, patience: Patience, **steps: Any) -> None:
    store.locked.set()
    with store.writer(patience, **steps) as writer:
        for number in range(3):
            writer.put(number)


def test_a_lock_that_does_not_end_ends_the_run(store: Store) -> None:
    with pytest.raises(LockedError, match="3 frames that waited could not be stored"):
        leave_locked(store, Patience(group_seconds=0.0, lock_seconds=0.3))
    assert store.groups == []


def test_who_asked_to_stop_waits_less_for_a_lock(store: Store) -> None:
    patience = Patience(group_seconds=0.0, lock_seconds=60, hurried_lock_seconds=0.3)
    started = time.monotonic()
    with pytest.raises(LockedError):
        leave_locked(store, patience, hurried=lambda: True)
    assert time.monotonic() - started < 5


def test_a_full_disk_is_waited_for_and_said(store: Store) -> None:
    full = threading.Event()
    full.set()

    def add(records: Sequence[Noted]) -> None:
        if full.is_set():
            with speaking(Path("r.sqlite")):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorname = "SQLITE_FULL"  # type: ignore[misc]
                raise error
        store.add(records)

    with store.writer(store=add) as writer:
        writer.put(0)
        until(lambda: bool(store.said))
        writer.put(1)
        full.clear()
    assert store.stored == [0, 1]
    assert "r.sqlite: the disk is full; the run goes on" in store.said[0]
    assert "r.sqlite: room again after" in store.said[1]


def test_a_disk_that_stays_full_ends_the_run(store: Store) -> None:
    def add(records: Sequence[Noted]) -> None:
        raise FullDiskError("r.sqlite", "the disk is full", "")

    with (
        pytest.raises(FullDiskError, match=r"1 frame that waited .*; free some space and start"),
        store.writer(Patience(group_seconds=0.0, lock_seconds=0.1), store=add) as writer,
    ):
        writer.put(0)


def test_what_the_check_finds_reaches_a_worker_that_waits(store: Store) -> None:
    failed = threading.Event()

    def gone() -> None:
        raise FileNotFoundError("r.sqlite")

    def wait_in_the_writer() -> None:
        with store.writer(check=gone, failed=failed.set):
            assert failed.wait(5)

    with pytest.raises(FileNotFoundError):
        wait_in_the_writer()


def fail_at_2(number: int) -> Noted:
    if number == 2:
        raise OSError("disk full")
    return Noted(number)


def store_all(store: Store, numbers: range, **steps: Any) -> None:
    with store.writer(Patience(group_seconds=0.05), **steps) as writer:
        for number in numbers:
            writer.put(number)
            time.sleep(0.0001)


def test_an_error_reaches_the_worker_and_nothing_is_stored_after_it(store: Store) -> None:
    """A picture that cannot be saved; the frames before it are good."""
    with pytest.raises(OSError, match="disk full"):
        store_all(store, range(100_000), note_down=fail_at_2)
    assert store.stored == [0, 1]


def test_an_error_at_the_very_end_is_not_lost(store: Store) -> None:
    with pytest.raises(OSError, match="disk full"):
        store_all(store, range(3), note_down=fail_at_2)
    assert store.stored == [0, 1]


def leave_with_something_waiting(store: Store) -> None:
    with store.writer(Patience(group_seconds=60)) as writer:
        writer.put(1)
        raise KeyError


def test_leaving_for_another_reason_still_stores_what_waits(store: Store) -> None:
    with pytest.raises(KeyError):
        leave_with_something_waiting(store)
    assert store.stored == [1]
