"""Results files that somebody has put code into: refused before anything of it is run."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from command import refused
from results_rows import INFO, rows
from reviewed_run import found, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.microscope import plain_schema
from qlvit_edge.microscope.plain_schema import MOST_BYTES, opened
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.stored_count import read_count
from qlvit_edge.review.opening import open_to_add, reading

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
CODE = {
    "a trigger, 't'": "CREATE TRIGGER t AFTER INSERT ON frames BEGIN "
    "UPDATE cells SET label = 'X'; END",
    "no table 'runs'": "ALTER TABLE runs RENAME TO hidden;"
    f"CREATE VIEW runs AS {ENDLESS} SELECT hidden.* FROM hidden, n",
    "no table 'cells'": "ALTER TABLE cells RENAME TO hidden;"
    "CREATE VIEW cells AS SELECT * FROM hidden",
    "a computed column, 'cells.extra'": "ALTER TABLE cells ADD COLUMN "
    "extra TEXT GENERATED ALWAYS AS (zeroblob(100000000))",
    "a long default for 'frames.extra'": "ALTER TABLE frames ADD COLUMN extra TEXT DEFAULT "
    f"'{'x' * 1000}'",
    "a computed index, 'i'": "CREATE INDEX i ON runs (hex(zeroblob(1000000)))",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)])
    return path


def execute(path: Path, statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


@pytest.mark.parametrize("finding", CODE)
def test_code_in_a_schema_is_refused_by_every_way_in(
    path: Path, finding: str, capfd: pytest.CaptureFixture[str]
) -> None:
    execute(path, CODE[finding])
    before = path.read_bytes()
    line = refused(capfd, "results", "list", path)
    assert f"it was changed: it has {finding}" in line
    with pytest.raises(DataError, match="it was changed"):
        read_count(path)
    with pytest.raises(DataError, match="it was changed"):
        open_to_add(path, lambda _: None)
    with pytest.raises(DataError, match="it was changed"):
        Results(path, INFO)
    assert path.read_bytes() == before


def _tables() -> list[str]:
    """Every table that this program makes, as its source says."""
    sources = Path(plain_schema.__file__).parent.glob("*.py")
    texts = "".join(source.read_text(encoding="utf-8") for source in sources)
    return sorted(set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(", texts)))


@pytest.mark.parametrize("table", _tables())
def test_nothing_stands_in_the_place_of_a_table(path: Path, table: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            connection.execute(f"ALTER TABLE {table} RENAME TO hidden")
        connection.execute(f"CREATE VIEW {table} AS {ENDLESS} SELECT i FROM n")
    with pytest.raises(DataError, match=f"no table '{table}' but something of that name"):
        read_count(path)


def test_a_users_own_tables_views_and_indexes_may_stay(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT DEFAULT 'none');"
        "CREATE VIEW mine AS SELECT * FROM cells; CREATE INDEX by_label ON cells (label);",
    )
    with reading(path) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (2,)
    write_run(path, [found("RED")])
    assert rows(path, "SELECT count(*) FROM runs") == [(2,)]


@pytest.mark.parametrize("value", ["'much'", "x'00ff'"])
def test_values_of_another_kind_are_refused_in_one_line(
    path: Path, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    execute(path, f"UPDATE runs SET accept_at = {value}")
    assert "a value is not what this program stores" in refused(capfd, "count", path)


def test_a_value_without_an_end_is_not_taken(path: Path) -> None:
    with closing(opened(path, 1.0)) as connection:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
        with pytest.raises(sqlite3.DataError, match="too big"):
            connection.execute(f"SELECT zeroblob({MOST_BYTES + 1})")


def test_no_view_of_a_file_can_load_code(path: Path) -> None:
    """What a person may look at with another program calls nothing that is not harmless."""
    execute(path, "CREATE VIEW evil AS SELECT load_extension('/tmp/evil.so')")
    with reading(path) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT * FROM evil").fetchall()


def test_a_refusal_stays_short_whatever_it_quotes(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 50_000
    execute(
        path,
        "PRAGMA writable_schema = ON;"
        f"UPDATE sqlite_master SET sql = 'CREATE TABLE reviews (''{long}' WHERE name = 'reviews'",
    )
    line = refused(capfd, "results", "list", path)
    assert "it is damaged" in line
    assert "xxx…xxx" in line
    assert line.endswith("; choose another name\n")
    assert len(line) < 1500
