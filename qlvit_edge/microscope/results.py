"""Results in a SQLite file that survives a power cut.

Write-ahead log with `synchronous=FULL`: once `add_frame` has returned, that frame is on
the disk. One file takes many runs. Tables:

- `runs`: one row a run; model and its hash, kernels, camera, thresholds, how it ended;
- `frames`: one row a frame, also where no cell was found;
- `cells`: one row a cell; box in pixels, label, probabilities as JSON, verdict.

Times are seconds since 1970 (UTC).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError
from qlvit_edge.microscope.pipeline import ClassifiedCell

APPLICATION_ID = 0x514C5645
"""Marks a SQLite file as ours ("QLVE")."""

FORMAT_VERSION = 1

_MARKS = ("application_id", "user_version")

Outcome = Literal["running", "finished", "stopped", "failed"]
"""How a run ended; one that still says "running" was killed."""

_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    runtime TEXT NOT NULL,
    kernels TEXT NOT NULL,
    camera TEXT NOT NULL,
    cell_size REAL NOT NULL,
    crop_margin REAL NOT NULL,
    accept_at REAL NOT NULL,
    program TEXT NOT NULL
);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    timestamp REAL NOT NULL,
    source TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    saved_as TEXT
);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY,
    frame_id INTEGER NOT NULL REFERENCES frames (id),
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    nucleus_area REAL NOT NULL,
    label TEXT NOT NULL,
    probability REAL NOT NULL,
    probabilities TEXT NOT NULL,
    verdict TEXT NOT NULL
);
CREATE INDEX frames_of_run ON frames (run_id);
CREATE INDEX cells_of_frame ON cells (frame_id);
"""


@dataclass(frozen=True)
class RunInfo:
    """What a run is made with; one column of `runs` each.

    Attributes:
        model: the model's name.
        model_sha256: hash of the model file.
        runtime: the TFLite runtime.
        kernels: the kernels that really run, in words.
        camera: the camera's source.
        cell_size: see `qlvit_edge.fields.finder.find_cells`.
        crop_margin: see `qlvit_edge.fields.finder.crop`.
        accept_at: probability from which a label is accepted.
        program: the program and its version.
    """

    model: str
    model_sha256: str
    runtime: str
    kernels: str
    camera: str
    cell_size: float
    crop_margin: float
    accept_at: float
    program: str


class Results:
    """An open results file with one run going on.

    Attributes:
        path: the file.
        run_id: this run's row in `runs`.
    """

    def __init__(self, path: Path, info: RunInfo) -> None:
        """Open or make the file and begin a run.

        Raises:
            DataError: the file is not a results file of this version, is damaged or cannot
                be written; what did not exist before is removed again.
        """
        self.path = path
        existed = _check_target(path)
        self._connection: sqlite3.Connection | None = None
        try:
            with self._speaking():
                # Frames are added by one thread, and what ends a run by another, later.
                self._connection = connection = sqlite3.connect(
                    path, isolation_level=None, timeout=5.0, check_same_thread=False
                )
                self._prepare(connection, existed)
                self.run_id = self._begin(connection, info)
        except BaseException:
            self._release()
            if not existed:
                _remove(path)
            raise

    def __enter__(self) -> Self:
        """Nothing more to do: the run has begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; a run that was not finished has failed."""
        if self._connection is None:
            return
        # The reason for leaving matters more than a second error while closing.
        with contextlib.suppress(DataError) if kind is not None else contextlib.nullcontext():
            self.finish("finished" if kind is None else "failed")
        self._release()

    def add_frame(
        self, frame: Frame, cells: Sequence[ClassifiedCell], saved_as: Path | None = None
    ) -> int:
        """Store a frame and its cells in one transaction; on the disk when this returns.

        Args:
            frame: the frame.
            cells: its cells.
            saved_as: where its annotated picture was saved.

        Returns:
            The id of its row in `frames`.

        Raises:
            DataError: the disk is full or the file cannot be written; nothing of the frame
                is stored.
        """
        height, width = frame.image.shape[:2]
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO frames (run_id, number, timestamp, source, width, height, saved_as)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self.run_id,
                    frame.index,
                    frame.timestamp,
                    frame.source,
                    width,
                    height,
                    None if saved_as is None else str(saved_as),
                ),
            )
            frame_id = int(cursor.lastrowid or 0)
            connection.executemany(
                "INSERT INTO cells (frame_id, x, y, width, height, nucleus_area, label,"
                " probability, probabilities, verdict) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(frame_id, found) for found in cells],
            )
        return frame_id

    def finish(self, outcome: Outcome) -> None:
        """Note how the run ended, unless that was noted before.

        Raises:
            DataError: the file cannot be written.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, outcome = ? WHERE id = ? AND outcome = 'running'",
                (time.time(), outcome, self.run_id),
            )

    def _prepare(self, connection: sqlite3.Connection, existed: bool) -> None:
        blank = not existed or _is_blank(connection)
        if not blank:
            self._require_ours(connection)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise DataError(
                self.path, "its file system has no write-ahead log", "choose a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if blank:
            connection.executescript(
                f"BEGIN; {_SCHEMA}"
                f"PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
            )

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise DataError(self.path, "it is another program's database", "choose another name")
        if version != FORMAT_VERSION:
            raise DataError(
                self.path,
                f"results of format {version}, this version writes {FORMAT_VERSION}",
                "choose another name",
            )
        # Reads every page's header: a cut or overwritten file is found before it is added to.
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise DataError(self.path, f"it is damaged ({found})", "choose another name")

    def _begin(self, connection: sqlite3.Connection, info: RunInfo) -> int:
        values = {"started": time.time(), "outcome": "running", **asdict(info)}
        columns = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        cursor = connection.execute(f"INSERT INTO runs ({columns}) VALUES ({places})", values)
        return int(cursor.lastrowid or 0)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise ValueError("the results file is closed")
        connection = self._connection
        with self._speaking():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back on a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn SQLite's errors, and names that it cannot store, into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(self.path, *_finding(error)) from error
        except UnicodeEncodeError as error:
            finding = f"the name {error.object!a} is not UTF-8 and cannot be stored"
            raise DataError(self.path, finding, "rename that file or folder") from error

    def _release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _row(frame_id: int, found: ClassifiedCell) -> tuple[object, ...]:
    cell, answer = found.cell, found.classification
    return (
        frame_id,
        cell.x,
        cell.y,
        cell.width,
        cell.height,
        cell.area,
        answer.label,
        answer.probability,
        json.dumps(answer.probabilities),
        answer.verdict,
    )


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Tell whether nothing was ever stored: a run was killed before it made its tables."""
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS]
    return marks == [0, 0] and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _check_target(path: Path) -> bool:
    """Return whether there is a database to add to; refuse everything else that is there."""
    if not path.parent.is_dir():
        raise DataError(path, "its folder does not exist", f"make {path.parent} first")
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise DataError(path, "it is not a file", "name a file for the results")
    with path.open("rb") as stream:
        head = stream.read(16)
    # An empty file is what is left when a run is killed before its first write.
    if head not in (b"", b"SQLite format 3\0"):
        raise DataError(path, "it is not a results file", "choose another name")
    return True


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            Path(f"{path}{ending}").unlink()


def _finding(error: sqlite3.Error) -> tuple[str, str]:
    """Finding and remedy for what SQLite says."""
    text = str(error)
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full", "free some space and start again; stored results are kept"
    if name.startswith("SQLITE_IOERR"):
        return f"it cannot be written ({text})", "check the disk and its free space"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"it cannot be written ({text})", "check the permissions or choose another place"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another program is writing to it", "wait for it or choose another name"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"it is damaged ({text})", "choose another name"
    return f"SQLite refuses it ({text})", "choose another name"
