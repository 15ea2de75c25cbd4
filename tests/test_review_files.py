"""Files of older and newer formats, locked, read-only, full and foreign ones; two who write."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from command import refused, run_command
from forked import ended, fork
from results_rows import INFO, frame, rows
from reviewed_run import found, sign_run, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.schema import FORMAT_VERSION
from qlvit_edge.microscope.sqlite_errors import LockedError, patiently
from qlvit_edge.review.opening import reading
from qlvit_edge.review.store import ReviewStore, reviewed_run
from qlvit_edge.review.verifying import findings_in

FIXTURES = Path(__file__).parent / "fixtures"


def upgrade(path: Path, limit: int, how: str) -> None:
    """Bring a file up to date where no file may be larger than ``limit`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if how == "kill" else signal.SIG_IGN)
    try:
        ReviewStore(path).close()
    except DataError:
        os._exit(2)


def confirm_each(path: Path, cells: Iterable[int]) -> None:
    """Be a reader: confirm cells one by one."""
    with ReviewStore(path) as store:
        for cell in cells:
            store.confirm(1, [cell], "Ann")


def old_file(path: Path, version: int) -> Path:
    """A file that an earlier version made."""
    script = (FIXTURES / f"results_format_{version}.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@pytest.mark.parametrize("version", [3, 4])
def test_an_old_file_is_read_as_it_is(
    tmp_path: Path, version: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = old_file(tmp_path / "r.sqlite", version)
    before = path.read_bytes()
    for arguments in (
        ("list", path),
        ("show", path, "--cells"),
        ("verify", path),
        ("export", path, "--out", tmp_path / "x.csv"),
    ):
        assert run_command("results", *arguments) == 0
        assert capfd.readouterr().err == ""
    assert "PRELIMINARY" in (tmp_path / "x.csv").read_text()
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [3, 4])
def test_an_old_file_is_brought_up_to_date_by_who_writes(tmp_path: Path, version: int) -> None:
    path, other = (old_file(tmp_path / name, version) for name in ("r.sqlite", "s.sqlite"))
    said: list[str] = []
    with ReviewStore(path, note=said.append) as store:
        store.confirm(1, [1], "Ann")
    assert f"brought from format {version} to {FORMAT_VERSION}" in said[0]
    with Results(other, INFO, note=said.append):
        pass
    assert f"brought from format {version}" in said[1]
    new = tmp_path / "new.sqlite"
    write_run(new, [])
    for table in ("runs", "frames", "cells", "run_list", "cell_list", "review_list", "islands"):
        wanted = {column[1:5] for column in rows(new, f"PRAGMA table_info({table})")}
        for file in (path, other):
            assert {column[1:5] for column in rows(file, f"PRAGMA table_info({table})")} == wanted
    assert rows(path, "SELECT run, label, cells FROM class_counts") == [(1, "RED", 1)]
    assert rows(path, "SELECT run, sample, review FROM run_list") == [(1, None, "collected")]
    sign_run(path)
    assert findings_in(path) == findings_in(other) == []


@pytest.mark.parametrize("early", [False, True])
def test_a_signature_of_format_5_stands_before_and_after(tmp_path: Path, early: bool) -> None:
    """Files of that format have pauses and an outbox, or are of before there were any."""
    path = old_file(tmp_path / "r.sqlite", 5)
    if early:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "DROP VIEW outbox_list; DROP TABLE outbox; ALTER TABLE runs DROP COLUMN pauses;"
            )
    assert findings_in(path) == []
    with ReviewStore(path) as store:
        assert store.run(1).status.is_signed
    assert findings_in(path) == []
    new = tmp_path / "new.sqlite"
    write_run(new, [])
    described = "SELECT name, type FROM pragma_table_info('{}') ORDER BY 1"
    for table in ("runs", "unique_cells", "outbox", "counted_cells", "outbox_list"):
        assert rows(path, described.format(table)) == rows(new, described.format(table))


def test_a_file_that_says_it_is_older_than_it_is_was_altered(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    sign_run(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP VIEW class_counts")
        connection.execute("PRAGMA user_version = 5")
    assert findings_in(path) == ["the number of its format was altered: it has runs.counted_once"]


@pytest.mark.parametrize("how", ["kill", "full"])
def test_half_a_migration_is_none(tmp_path: Path, how: str) -> None:
    """At every size at which the disk may be full, or the program be killed by it."""
    source = old_file(tmp_path / "old.sqlite", 3)
    before = [rows(source, f"SELECT * FROM {table}") for table in ("runs", "frames", "cells")]
    size, done = source.stat().st_size, set()
    for limit in (size // 2, size, size + 6_000, size + 40_000, size + 70_000):
        path = tmp_path / f"{limit}.sqlite"
        shutil.copyfile(source, path)
        code = ended(fork(partial(upgrade, path, limit, how)))
        assert code in {0, -signal.SIGXFSZ if how == "kill" else 2}
        (version,) = rows(path, "PRAGMA user_version")[0]
        done.add((code == 0, version))
        assert [rows(path, f"SELECT * FROM {t}") for t in ("frames", "cells")] == [
            [(*row, None) for row in before[1]] if version == FORMAT_VERSION else before[1],
            [(*row, *[None] * 5) for row in before[2]] if version == FORMAT_VERSION else before[2],
        ]
        ReviewStore(path).close()  # and it can be done again
        assert rows(path, "PRAGMA user_version") == [(FORMAT_VERSION,)]
    assert (False, 3) in done
    assert (True, FORMAT_VERSION) in done


def test_what_is_no_results_file_is_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, foreign, newer, blank, cut = (
        tmp_path / name for name in ("text", "foreign", "newer", "blank", "cut")
    )
    text.write_text("nothing of the kind\n" * 100)
    blank.write_bytes(b"")
    with closing(sqlite3.connect(foreign)) as connection:
        connection.executescript("CREATE TABLE t (x); PRAGMA application_id = 7;")
    write_run(newer, [found()])
    shutil.copyfile(newer, cut)
    os.truncate(cut, 12_000)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    for path, said in (
        (text, "it is not a results file"),
        (foreign, "it is another program's database"),
        (newer, "made by a newer version of this program"),
        (blank, "it holds no run"),
        (cut, "it is damaged"),
        (tmp_path, "is a folder"),
        (tmp_path / "nowhere", "no such file"),
    ):
        content = path.read_bytes() if path.is_file() else b""
        for arguments in (
            ("list", path),
            ("show", path),
            ("review", path, "--by", "Ann", "--cell", 1, "--confirm"),
            ("delete", path, "--older-than", 0, "--by", "Ann", "--yes"),
            ("backup", path, tmp_path / "copy"),
        ):
            assert said in refused(capfd, "results", *arguments)
        assert not path.is_file() or path.read_bytes() == content
    assert not (tmp_path / "nowhere").exists()
    assert run_command("results", "verify", cut) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed who may not write")
def test_a_file_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "read only"
    folder.mkdir()
    path = folder / "r.sqlite"
    write_run(path, [found()])
    path.chmod(0o444)
    folder.chmod(0o555)
    for parent in folder.parents:
        if str(parent).startswith(("/tmp/pytest", str(tmp_path))):
            parent.chmod(0o755)

    def look() -> None:
        os.setuid(65534)
        with reading(path) as connection:
            assert len(reviewed_run(connection, path, None).cells) == 1
        with pytest.raises(DataError, match="cannot be written"):
            ReviewStore(path, seconds=0)

    assert ended(fork(look)) == 0


def test_a_locked_file_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    said: list[str] = []
    with ReviewStore(path, note=said.append, seconds=0.4) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LockedError, match="another program has locked it"):
                store.confirm(1, [1], "Ann")
            other.execute("ROLLBACK")
        assert said == [f"{path}: another program has locked it; waiting up to 0 s"]
        assert store.records(1) == []
        assert store.confirm(1, [1], "Ann").number == 1


def test_a_reader_reviews_in_another_process_while_a_run_writes(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()] * 30)
    begin, begun = os.pipe()

    def read_along() -> None:
        os.read(begin, 1)
        confirm_each(path, range(1, 31))

    reader = fork(read_along)
    with Results(path, INFO) as results:
        os.write(begun, b"!")
        for index in range(60):
            # As the writer of a run does: a lock of milliseconds is waited for.
            add = partial(results.add_frame, frame(index), [found()] * 2)
            assert patiently(add, 20.0, lambda _: None, path) == 2 + index
    assert ended(reader) == 0
    os.close(begin)
    os.close(begun)
    with ReviewStore(path) as store:
        assert len(store.records(1)) == 30
        assert store.run(1).left_to_do() == []
        assert len(store.run(2).cells) == 120
    assert findings_in(path) == []


def test_two_readers_at_once_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()] * 20)
    readers = [fork(partial(confirm_each, path, range(start, 21, 2))) for start in (1, 2)]
    assert [ended(reader) for reader in readers] == [0, 0]
    with ReviewStore(path) as store:
        assert sorted(r.cells[0] for r in store.records(1)) == list(range(1, 21))
    assert findings_in(path) == []
