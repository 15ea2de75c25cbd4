"""The differential of a run that is stored, read without changing the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.differential.analyser import analyser_of
from qlvit_edge.differential.differential import Differential, Mistakes, differential_of
from qlvit_edge.differential.tally import UNPLACED, Tally
from qlvit_edge.errors import DataError, ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.microscope import schema
from qlvit_edge.microscope.plain_schema import opened
from qlvit_edge.microscope.sqlite_errors import speaking
from qlvit_edge.modelfile.chain import metadata_in
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.reading import UnreadableFileError, parse_json

_SECONDS = 10.0
"""How long another program's lock is waited for."""

_NAME_THE_MODEL = "the results file does not hold the model's mistakes; name the model with --model"


@dataclass(frozen=True)
class StoredRun:
    """A run as its row says.

    Attributes:
        results: the results file.
        run_id: its number.
        model: name of its model.
        model_sha256: hash of the model's file.
        outcome: how it ended.
        accept_at: smallest probability of an accepted answer.
        statement: whether its cells are what the model was made for, in words; None: not said.
        familiar: the same as yes or no; None: not known.
        counted_once: whether each cell of the slide is counted once. Runs of files before format 6
            are counted as they were then, in every frame.
        review: what people have done with it: collected, reviewed, signed or exported; None where
            nobody has decided on a cell. It changes nothing in what the model counted.
    """

    results: str
    run_id: int
    model: str
    model_sha256: str
    outcome: str
    accept_at: float
    statement: str | None
    familiar: bool | None
    counted_once: bool = False
    review: str | None = None


@dataclass(frozen=True)
class StoredCount:
    """A run and its cells.

    Attributes:
        run: the run.
        labels: classes that its cells name, in the model's order.
        cells: (label, verdict, cut, doubtful, number) of all kinds of cells that there are.
        unplaced: findings in frames without a place, where each cell is counted once.
    """

    run: StoredRun
    labels: tuple[str, ...]
    cells: tuple[tuple[str, str, bool, bool, int], ...]
    unplaced: int = 0


def read_count(path: Path, run_id: int | None = None) -> StoredCount:
    """Read a run's cells.

    Args:
        path: the results file.
        run_id: number of the run; None: the last.

    Raises:
        DataError: it is not a results file, is damaged or locked, or has no such run.
    """
    with speaking(path), _reading(path) as connection, _understood(path):
        version = schema.require_ours(connection, path)
        run = _run(connection, path, run_id, version)
        cells, unplaced = _cells(connection, run, version)
        one = connection.execute(
            "SELECT probabilities FROM cells JOIN frames ON frames.id = frame_id WHERE run_id = ? "
            "LIMIT 1",
            (run.run_id,),
        ).fetchone()
    try:
        named = () if one is None else tuple(map(str, parse_json(str(one[0]).encode())))
    except (UnreadableFileError, TypeError):
        named = ()
    found = {label for label, *_ in cells}
    labels = (*named, *sorted(found - set(named)))
    return StoredCount(run, labels, tuple(cells), unplaced)


def _cells(
    connection: sqlite3.Connection, run: StoredRun, version: int
) -> tuple[list[tuple[str, str, bool, bool, int]], int]:
    """All kinds of cells of a run with their numbers, and findings without a place."""
    cut = "cut" if version >= 2 else "0"
    query = (
        f"SELECT label, verdict, {cut}, 0, count(*) FROM cells "  # noqa: S608 - names of ours, values bound
        "JOIN frames ON frames.id = frame_id WHERE run_id = ? GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    unplaced = 0
    if run.counted_once:
        query = (
            "SELECT label, verdict, cut, unique_cells.doubtful, count(*) FROM unique_cells "
            "JOIN cells ON cells.id = best WHERE run_id = ? GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
        (unplaced,) = connection.execute(
            "SELECT count(*) FROM cells JOIN frames ON frames.id = frame_id "
            "WHERE run_id = ? AND unique_cell IS NULL",
            (run.run_id,),
        ).fetchone()
    rows = connection.execute(query, (run.run_id,)).fetchall()
    return [(str(a), str(b), bool(c), bool(d), int(n)) for a, b, c, d, n in rows], int(unplaced)


def stored_differential(
    stored: StoredCount, model: Path | None, analyser: str | None
) -> Differential:
    """Return the differential of a stored run.

    Args:
        stored: the run and its cells.
        model: the run's model file; None: without.
        analyser: to compare with, see `analyser_of`; None for none.

    Raises:
        ModelFileError: the model cannot be read, or is not the run's.
        DataError: the analyser's differential is not one in the run's classes, or the results
            file holds cells that no version of this program stores.
    """
    metadata = None if model is None else _model_of(stored.run, model)
    labels = stored.labels if metadata is None else tuple(metadata.labels)
    run = stored.run
    mistakes = Mistakes(None, _NAME_THE_MODEL)
    if metadata is not None:
        mistakes = Mistakes.of(metadata.confusion, run.accept_at, familiar=run.familiar)
    if analyser is not None and not labels:
        finding = f"run {run.run_id} has no cell that tells the model's classes"
        raise DataError(run.results, finding, "name the model with --model")
    tally = Tally(labels)
    compared = None if analyser is None else analyser_of(analyser, tally.counted)
    tally.beside[UNPLACED] += stored.unplaced
    for label, verdict, cut, doubtful, cells in stored.cells:
        try:
            tally.add(label, verdict, cut=cut, doubtful=doubtful, cells=cells)
        except ValueError as error:
            finding = f"run {run.run_id} has cells of {error}"
            raise DataError(run.results, finding, "use the version that made it") from None
    return differential_of(tally, mistakes, compared)


def _model_of(run: StoredRun, path: Path) -> ModelMetadata:
    content = read_bytes(path)
    if sha256(content) != run.model_sha256:
        finding = f"not the model of run {run.run_id}, which was {run.model} with another content"
        raise ModelFileError(path, finding, "name the file that the run was made with")
    metadata = metadata_in(content, subject=path)
    if metadata is None:
        raise ModelFileError(path, "it has no metadata", "name the file that the run was made with")
    return metadata


def _run(connection: sqlite3.Connection, path: Path, run_id: int | None, version: int) -> StoredRun:
    added = "statement, familiar" if version >= 3 else "NULL, NULL"
    added += ", counted_once" if version >= 6 else ", NULL"
    row = connection.execute(
        f"SELECT id, model, model_sha256, outcome, accept_at, {added} FROM runs "  # noqa: S608 - names of ours, values bound
        "WHERE id = coalesce(?, (SELECT max(id) FROM runs))",
        (run_id,),
    ).fetchone()
    if row is None:
        last = connection.execute("SELECT max(id) FROM runs").fetchone()[0]
        finding = "it holds no run" if run_id is None else f"it has no run {run_id}"
        remedy = "make one with `qlvit-edge run`" if last is None else f"its last run is {last}"
        raise DataError(path, finding, remedy)
    number, model, digest, outcome, accept_at, statement, familiar, counted_once = row
    state = None
    if version >= 5:
        query = "SELECT state FROM review_heads WHERE run_id = ?"
        state = connection.execute(query, (number,)).fetchone()
    return StoredRun(
        results=str(path),
        run_id=int(number),
        model=str(model),
        model_sha256=str(digest),
        outcome=str(outcome),
        accept_at=float(accept_at),
        statement=None if statement is None else str(statement),
        familiar=None if familiar is None else bool(familiar),
        counted_once=counted_once == 1,
        review=None if state is None else str(state[0]),
    )


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Refuse values of other kinds than are stored: SQLite keeps anything anywhere."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        finding = f"it was changed: a value is not what this program stores ({error})"
        raise DataError(path, finding, "use a backup of it") from None


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a results file for reading.

    Raises:
        DataError: it is not there, or is no file.
    """
    if not path.is_file():
        finding = "is a folder" if path.is_dir() else "no such file"
        raise DataError(path, finding, "name a results file of `qlvit-edge run`")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(opened(uri, _SECONDS, uri=True)) as connection:
        yield connection
