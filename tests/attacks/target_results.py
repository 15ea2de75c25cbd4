"""Attack on everything that opens a results file: pages, rows, and the schema itself."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from frame import Finding, Target, refused_or, run_line
from reviewed_run import found, sign_run, write_run

from qlvit_edge.review.store import ReviewStore

_COMMANDS: tuple[tuple[object, ...], ...] = (
    ("results", "list", "FILE", "--json"),
    ("results", "list", "FILE"),
    ("results", "show", "FILE", "--cells"),
    ("results", "show", "FILE", "--json"),
    ("results", "verify", "FILE"),
    ("results", "export", "FILE", "--out", "OUT/r.csv", "--by", "Eve"),
    ("results", "export", "FILE", "--out", "OUT/r.jsonl", "--by", "Eve"),
    ("results", "export", "FILE", "--out", "OUT/hl7", "--format", "hl7", "--by", "Eve"),
    ("results", "export", "FILE", "--out", "OUT/geo", "--format", "geojson", "--by", "Eve"),
    ("results", "export", "FILE", "--out", "OUT/crops", "--format", "crops", "--by", "Eve"),
    ("results", "report", "FILE", "--out", "OUT/r.html", "--by", "Eve"),
    ("results", "backup", "FILE", "OUT/copy.sqlite"),
    ("results", "outbox", "FILE"),
    ("results", "review", "FILE", "--by", "Eve", "--confirm-class", "RED"),
    ("results", "review", "FILE", "--by", "Eve", "--done"),
    ("results", "sign", "FILE", "--by", "Eve"),
    ("results", "delete", "FILE", "--by", "Eve", "--older-than", "1", "--yes"),
    ("count", "FILE"),
    ("RUN",),
    ("count", "FILE", "--json"),
)

_VALUES = (
    "NULL",
    "''",
    "-1",
    "0",
    "9223372036854775807",
    "1e999",
    "-1e999",
    "x'ff00fe'",
    "'nonsense'",
    "'../../../etc/passwd'",
    "'/etc/passwd'",
    "'{}'",
    "'[]'",
    '\'{"RED": "x"}\'',
    "'{\"RED\": NaN}'",
    "'[[[[[[[[1]]]]]]]]'",
    "char(27) || '[2J'",
    "char(0) || 'a'",
    "CAST(x'fffe41' AS TEXT)",
    "printf('%.*c', 100000, 'x')",
    "2.5",
    "1e300",
)

_SCHEMA = (
    "CREATE TRIGGER t AFTER INSERT ON {table} BEGIN UPDATE cells SET label = 'BLUE'; END",
    "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM {table}; END",
    "CREATE TRIGGER t BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'no\n\x1b[2J'); END",
    "ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS SELECT * FROM hidden",
    "ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT hidden.* FROM hidden, n",
    "ALTER TABLE {table} ADD COLUMN extra TEXT DEFAULT '{long}'",
    "ALTER TABLE {table} ADD COLUMN extra TEXT GENERATED ALWAYS AS (zeroblob(100000000))",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO other",
    "CREATE INDEX i ON {table} ({column}, hex(zeroblob(1000000)))",
    "DROP TABLE {table}",
    "PRAGMA user_version = {number}",
    "PRAGMA application_id = {number}",
    "CREATE VIRTUAL TABLE v USING fts5(a)",
    "DROP VIEW IF EXISTS run_list; CREATE VIEW run_list AS SELECT load_extension('x')",
)


def edited(chosen: random.Random, content: bytes) -> bytes:
    """Change a results file as a database: values, rows, tables, and the schema's own text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.sqlite"
        path.write_bytes(content)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            for _ in range(chosen.choice((1, 1, 2, 4))):
                with suppress(sqlite3.Error, IndexError):
                    connection.executescript(_edit(chosen, connection))
        return path.read_bytes()


def _edit(chosen: random.Random, connection: sqlite3.Connection) -> str:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    table = chosen.choice(sorted(name for (name,) in tables))
    column = chosen.choice(connection.execute(f"PRAGMA table_info({table})").fetchall())[1]
    chance = chosen.random()
    if chance < 0.45:
        value = chosen.choice(_VALUES)
        some = chosen.choice(("", " WHERE rowid = 1", " WHERE rowid = (SELECT max(rowid) FROM T)"))
        return f"UPDATE {table} SET {column} = {value}{some.replace('T', table)}"
    if chance < 0.55:
        return f"PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = {_text(chosen)}" + (
            f" WHERE name = '{table}'"
        )
    if chance < 0.58:
        return f"DELETE FROM {table}"
    return chosen.choice(_SCHEMA).format(
        table=table, column=column, number=chosen.choice((0, 1, 3, 99, -1)), long="x" * 50_000
    )


def _text(chosen: random.Random) -> str:
    options = (
        "NULL",
        "'CREATE TABLE'",
        "replace(sql, 'TEXT', 'BLOB')",
        "replace(sql, 'NOT NULL', '')",
    )
    return chosen.choice((*options, "replace(sql, 'id', 'ID')", "sql || ' WITHOUT ROWID'", "x'ff'"))


def prepare(folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
    seeds = [_plain(folder), _signed(folder)]
    path, out = folder / "results.sqlite", folder / "out"
    guarded = folder / "guarded.txt"
    guarded.write_text("what lies beside it")

    def examine(content: bytes) -> bool:
        for name in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{name}").unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        path.write_bytes(content)
        command = _COMMANDS[zlib.crc32(content) % len(_COMMANDS)]
        if command == ("RUN",):
            return refused_or(lambda: write_run(path, [found("RED")]))
        words = [str(w).replace("FILE", str(path)).replace("OUT", str(out)) for w in command]
        done = run_line(*words)
        if guarded.read_text() != "what lies beside it":
            raise Finding("a file beside the results was changed")
        return done

    return seeds, examine


def _plain(folder: Path) -> bytes:
    path = folder / "plain.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)], [found("RED", "uncertain")], keep=folder)
    return _alone(path)


def _signed(folder: Path) -> bytes:
    path = folder / "signed.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)], keep=folder)
    with ReviewStore(path) as store:
        store.confirm(1, [cell.id for cell in store.run(1).cells][:1], "Ann")
    sign_run(path)
    return _alone(path)


def _alone(path: Path) -> bytes:
    """The file without a log beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return path.read_bytes()


TARGETS = (Target("results", prepare, change=edited, megabytes=250, seconds=10, is_sure=False),)
