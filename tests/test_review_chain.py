"""Whatever is altered in a results file is found: records, cells, runs, views, missing rows."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import refused, run_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from results_rows import INFO
from reviewed_run import found, sign_run, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.review import outbox
from qlvit_edge.review.chain import canonical, digest_of_rows, link
from qlvit_edge.review.log import append
from qlvit_edge.review.records import ReviewRecord, read_record
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.verifying import findings_in

EXAMPLES = 50

TABLES = (
    *("runs", "frames", "cells", "islands", "samples", "operators", "reviews", "review_heads"),
    "outbox",
)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed run, and records of every kind but the deletion."""
    path = tmp_path_factory.mktemp("signed") / "r.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)], [found("RED", "unknown cell")])
    with ReviewStore(path) as store:
        store.change(1, [2], "RED", reason="granules", by="Ann")
        store.undo(1, "Ann")
        store.exclude(1, [3], reason="smudge", by="Ann")
    sign_run(path)
    with ReviewStore(path) as store:
        store.export(1, to="x.csv", by="Bob")
        store.export(1, to=f"mllp://lab:1 as {'A' * 20}", by="Bob", also=put_in_outbox)
        store.reopen(1, reason="second look", by="Bob")
    sign_run(path, by="Bob")
    assert findings_in(path) == []
    return path


def put_in_outbox(connection: sqlite3.Connection) -> None:
    """A message of the run."""
    outbox.put(
        *(connection, 1, "mllp://lab:1", "Bob"), control_id="A" * 20, result="r", message="MSH|"
    )


def stored(path: Path) -> list[Any]:
    """Every value of every table that is ours."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [
            (table, connection.execute(f"SELECT * FROM {table}").fetchall()) for table in TABLES
        ]


def fresh(signed: Path) -> Path:
    """A name for a copy, without what SQLite left beside the last one."""
    for ending in ("", "-wal", "-shm"):
        signed.with_name(f"flipped.sqlite{ending}").unlink(missing_ok=True)
    return signed.with_name("flipped.sqlite")


def altered(path: Path) -> bool:
    """Whether `verify` finds anything, or finds no results file any more."""
    try:
        return bool(findings_in(path))
    except DataError:
        return True


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_flipped_byte_of_a_record_is_found(signed: Path, data: st.DataObject) -> None:
    copy = fresh(signed)
    shutil.copyfile(signed, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        records = connection.execute("SELECT number, content, hash FROM reviews").fetchall()
        number, *texts = data.draw(st.sampled_from(records))
        column = data.draw(st.sampled_from([0, 1]))
        content = bytearray(texts[column].encode())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        connection.execute(
            f"UPDATE reviews SET {('content', 'hash')[column]} = CAST(? AS TEXT) WHERE number = ?",
            (bytes(content), number),
        )
    assert altered(copy)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_flipped_byte_of_the_file_is_found_where_it_changes_anything(
    signed: Path, data: st.DataObject
) -> None:
    copy = fresh(signed)
    content = bytearray(signed.read_bytes())
    # Half of them where the records lie, which are most of what is not empty.
    texts = content.index(b'{"at":"'), content.rindex(b'"undoes"')
    place = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(*texts)))
    content[place] ^= data.draw(st.integers(1, 255))
    copy.write_bytes(content)
    if altered(copy):
        return
    assert stored(copy) == stored(signed), f"byte {place}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "UPDATE cells SET label = 'BLUE' WHERE id = 1",
            "cells of run 1 were altered since record",
        ),
        ("UPDATE cells SET doubtful = 1 WHERE id = 1", "run 1 was altered since record"),
        ("UPDATE frames SET timestamp = 5 WHERE id = 2", "run 1 was altered"),
        ("UPDATE runs SET model_sha256 = 'cd'", "run 1 was altered"),
        ("UPDATE runs SET outcome = 'stopped'", "run 1 was altered"),
        ("UPDATE samples SET name = 'S-0816'", "run 1 was altered"),
        ("UPDATE operators SET name = 'Oskar'", "run 1 was altered"),
        ("INSERT INTO islands VALUES (1, 1, NULL, 0, 0)", "run 1 was altered"),
        ("DELETE FROM cells WHERE id = 3", "cells of run 1 were altered"),
        ("DELETE FROM reviews WHERE number = 2", "record 2 of run 1 is missing"),
        ("DELETE FROM reviews WHERE number = 11", "the last records of run 1 are missing"),
        ("DELETE FROM reviews", "the last records of run 1 are missing"),
        ("DELETE FROM review_heads", "the last records of run 1 are missing"),
        ("UPDATE review_heads SET state = 'exported'", "the state of run 1 was altered"),
        ("UPDATE reviews SET run_id = 7", "last records of run 1 are missing"),
        ("UPDATE frames SET run_id = 9 WHERE id = 1", "refers to runs, where there is none"),
        ("PRAGMA user_version = 4", "number of its format"),
        ("DROP VIEW class_counts", "class_counts was altered"),
        ("DROP INDEX cells_of_frame", "cells_of_frame was altered"),
    ],
)
def test_what_was_altered_is_named(signed: Path, tmp_path: Path, change: str, said: str) -> None:
    copy = tmp_path / "r.sqlite"
    shutil.copyfile(signed, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute(change)
    assert said in "\n".join(findings_in(copy))


def test_an_altered_review_is_neither_added_to_nor_exported(
    signed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "r.sqlite", tmp_path / "x.csv"
    shutil.copyfile(signed, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("UPDATE reviews SET content = replace(content, 'Ann', 'Eve')")
    with (
        ReviewStore(copy) as store,
        pytest.raises(DataError, match="record 1 of run 1 was altered"),
    ):
        store.reopen(1, reason="look", by="Bob")
    line = refused(capfd, "results", "export", copy, "--out", out, "--by", "Bob")
    assert "record 1 of run 1 was altered; restore a backup" in line
    assert run_command("results", "verify", copy) == 1
    assert "altered: record 1 of run 1" in capfd.readouterr().out
    assert not out.exists()


def test_cells_that_are_not_those_signed_do_not_leave(
    signed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "r.sqlite", tmp_path / "x.csv"
    shutil.copyfile(signed, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("UPDATE cells SET label = 'BLUE' WHERE id = 1")
    line = refused(capfd, "results", "export", copy, "--out", out, "--by", "Bob")
    assert "run 1 is not as it was when Ann last answered for it" in line
    assert list(tmp_path.iterdir()) == [copy]


def test_a_forged_record_that_the_state_does_not_allow_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()], info=INFO)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        record = ReviewRecord(1, 1, "2026", "Eve", "sign", "hand", "", counts={"RED": 1})
        append(connection, record, "signed")  # its hash is right
    assert findings_in(path) == [
        "the records of run 1 contradict themselves: run 1 is not reviewed"
    ]


def test_a_hash_depends_on_what_stood_before() -> None:
    assert link("a", "b") != link("b", "a") != link("", "ab")
    assert canonical({"b": 1, "a": [None, "ä"]}) == '{"a":[null,"\\u00e4"],"b":1}'
    assert digest_of_rows([[1, "a"], [2]]) != digest_of_rows([[1], ["a", 2]])


@given(
    st.builds(
        ReviewRecord,
        *(st.integers(), st.integers(), st.text(), st.text(), st.sampled_from(["sign", "undo"])),
        *(st.text(), st.text()),
        cells=st.lists(st.integers()).map(tuple),
        label=st.none() | st.text(),
        reason=st.none() | st.text(),
        undoes=st.none() | st.integers(),
        counts=st.dictionaries(st.text(), st.integers()),
    )
)
def test_a_record_is_read_as_it_was_written(record: ReviewRecord) -> None:
    assert read_record(record.text()) == record
