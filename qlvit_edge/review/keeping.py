"""Backing up results, and deleting what need not or must not be kept."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.files import atomic_path
from qlvit_edge.microscope import backends, losses, schema
from qlvit_edge.microscope.sqlite_errors import speaking
from qlvit_edge.review import log
from qlvit_edge.review.cells import RunRow, runs_of
from qlvit_edge.review.chain import digest
from qlvit_edge.review.frames import located
from qlvit_edge.review.names import is_sample, required
from qlvit_edge.review.opening import alone, open_to_add, reading, transaction
from qlvit_edge.review.records import ReviewRecord, now
from qlvit_edge.version import installed_version

_PICTURE = re.compile(r"run[0-9]{3,}-frame[0-9]{6,}(-plain)?\.(jpg|png)")
"""Pictures that a run saves are called so; nothing else is deleted, whatever a file names."""

_DAY = 86400.0


@dataclass(frozen=True)
class Doomed:
    """A run that is to be deleted.

    Attributes:
        run: the run.
        state: of its review.
        cells: how many it has.
        pictures: saved pictures that go with it.
    """

    run: RunRow
    state: str
    cells: int
    pictures: tuple[Path, ...]


def back_up(path: Path, target: Path) -> None:
    """Copy a results file, of one moment, while a run may write to it.

    Raises:
        DataError: it is no results file, or the target is there.
    """
    if target.exists():
        raise DataError(target, "is there already", "choose another name")
    with reading(path), atomic_path(target) as temporary, speaking(path):
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with closing(source), closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
            # One file without a log beside it, which whoever copies it on would leave behind.
            copy.execute("PRAGMA journal_mode = DELETE")


def of_sample(path: Path, sample: str) -> list[Doomed]:
    """Return a sample's runs.

    Raises:
        DataError: there is none of that name.
    """
    found = _doomed(path, lambda run, _: is_sample(run.sample, sample))
    if not found:
        raise DataError(path, f"it has no sample {sample!r}", "`results list` shows them")
    return found


def older_than(path: Path, days: float) -> list[Doomed]:
    """Return the runs that began more than so many days ago and are not signed."""
    limit = time.time() - days * _DAY
    return _doomed(path, lambda run, signed: run.started < limit and not signed)


def above(path: Path, megabytes: float) -> list[Doomed]:
    """Return the oldest runs, not signed, without which a file and its pictures are about so small.

    A run's size is taken to be its share of the cells and frames, and the pictures that it saved.
    """
    with reading(path) as connection:
        used = sum(
            sign * int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for sign, name in ((1, "page_count"), (-1, "freelist_count"))
        ) * int(connection.execute("PRAGMA page_size").fetchone()[0])
        rows = dict(
            connection.execute(
                "SELECT run_id, count(*) FROM frames LEFT JOIN cells ON frame_id = frames.id "
                "GROUP BY run_id"
            ).fetchall()
        )
    per_row = used / max(1, sum(rows.values()))
    pictures = {one.run.run: _bytes(one.pictures) for one in _doomed(path, lambda *_: True)}
    surplus, chosen = used + sum(pictures.values()) - megabytes * 1e6, set[int]()
    for one in _doomed(path, lambda _, signed: not signed):
        if surplus <= 0:
            break
        chosen.add(one.run.run)
        surplus -= rows.get(one.run.run, 0) * per_row + pictures.get(one.run.run, 0)
    return _doomed(path, lambda run, _: run.run in chosen)


def _bytes(pictures: Iterable[Path]) -> int:
    total = 0
    for picture in set(pictures):
        with suppress(OSError):
            total += picture.stat().st_size
    return total


def delete(path: Path, doomed: Sequence[Doomed], by: str) -> list[Path]:
    """Delete runs for good, with their reviews, saved pictures, and samples that are then empty.

    What remains is a record of the file: who, when, and the runs' numbers. Freed space is
    overwritten and given back.

    Returns:
        Pictures that could not be deleted.

    Raises:
        DataError: a run is writing to the file, or it cannot be written; nothing is deleted.
    """
    name = required(by, "--by")
    runs = [one.run.run for one in doomed]
    with alone(path):
        connection = open_to_add(path, lambda _: None)
        try:
            with speaking(path), transaction(connection):
                _delete_rows(connection, path, runs, name)
            left = _delete_pictures(picture for one in doomed for picture in one.pictures)
            _give_back(connection, path)
        finally:
            connection.close()
    return left


def _give_back(connection: sqlite3.Connection, path: Path) -> None:
    """Make the file as small as what it holds; needs as much free space for a moment."""
    try:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        finding = f"the runs are deleted, but their space is not given back yet ({error})"
        raise DataError(path, finding, "free some disk space and delete the next run") from None


def _delete_rows(
    connection: sqlite3.Connection, path: Path, runs: Collection[int], by: str
) -> None:
    try:
        records = log.records_of(connection, log.FILE)
    except log.BrokenChainError as error:
        raise DataError(path, str(error), "restore a backup") from None
    has_census = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'census'").fetchone()
    frames = "(SELECT id FROM frames WHERE run_id = ?)"
    heads = {}
    for run in runs:
        heads[str(run)] = log.head_of(connection, run)
        if has_census is not None:
            connection.execute(f"DELETE FROM census WHERE frame_id IN {frames}", (run,))  # noqa: S608 - names of ours, values bound
        backends.forget(connection, run)
        connection.execute(f"DELETE FROM cells WHERE frame_id IN {frames}", (run,))  # noqa: S608 - names of ours, values bound
        for table in ("frames", "islands", "unique_cells", "reviews", "review_heads", "outbox"):
            connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run,))  # noqa: S608 - names of ours, values bound
        losses.forget(connection, run)
        schema.delete_row(connection, run)
    record = ReviewRecord(
        run=log.FILE,
        number=len(records) + 1,
        at=now(),
        by=by,
        kind="delete",
        program=f"qlvit-edge {installed_version()}",
        facts=digest(heads),
        runs=tuple(sorted(runs)),
    )
    log.append(connection, record, "")


def _doomed(path: Path, wanted: Callable[[RunRow, bool], bool]) -> list[Doomed]:
    """Runs that are wanted gone, oldest first; told the run, and whether it is signed."""
    found = []
    with reading(path) as connection:
        for run in runs_of(connection):
            status = log.status_in(connection, path, run.run)
            if not wanted(run, status.is_signed):
                continue
            (cells,) = connection.execute(
                "SELECT count(*) FROM cells JOIN frames ON frames.id = frame_id WHERE run_id = ?",
                (run.run,),
            ).fetchone()
            pictures = tuple(_pictures_of(connection, path, run.run))
            found.append(Doomed(run, status.state, int(cells), pictures))
    return sorted(found, key=lambda one: (one.run.started, one.run.run))


def _pictures_of(connection: sqlite3.Connection, results: Path, run: int) -> Iterable[Path]:
    known = {row[1] for row in connection.execute("PRAGMA table_info(frames)")}
    for column in {"saved_as", "kept_as"} & known:
        rows = connection.execute(
            f"SELECT {column} FROM frames WHERE run_id = ? AND {column} IS NOT NULL",  # noqa: S608 - names of ours, values bound
            (run,),
        )
        for (name,) in rows:
            picture = located(results, str(name))
            if picture is not None and _PICTURE.fullmatch(picture.name):
                yield picture


def _delete_pictures(pictures: Iterable[Path]) -> list[Path]:
    left = []
    for picture in pictures:
        try:
            picture.unlink(missing_ok=True)
        except OSError:
            left.append(picture)
    return left
