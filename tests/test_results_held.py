"""A results file under a run: taken away, locked, read by others, on the wrong disk, or full."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from results_rows import FOUND, INFO, frame, rows

from qlvit_edge.errors import DataError, ResultsLostError
from qlvit_edge.microscope import claim
from qlvit_edge.microscope import results as module
from qlvit_edge.microscope.claim import file_system
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.sqlite_errors import LockedError

HOLDING = """
import sys
from pathlib import Path
from results_rows import FOUND, INFO, frame
from qlvit_edge.microscope.results import Results
with Results(Path(sys.argv[1]), INFO) as results:
    results.add_frame(frame(), [FOUND])
    print("held", flush=True)
    sys.stdin.read()
"""

FULL = """
import resource, sys
from pathlib import Path
from results_rows import FOUND, INFO, frame
from qlvit_edge.errors import DataError
from qlvit_edge.microscope.results import Results
path, stored = Path(sys.argv[1]), 0
try:
    with Results(path, INFO) as results:
        for stored in range(1, 21):
            results.add_frame(frame(stored), [FOUND] * 3)
        if "others" in sys.argv:
            # Other programs take what is left, to the last byte.
            with path.with_name("theirs").open("wb", buffering=0) as theirs:
                while theirs.write(b"0" * 4096):
                    pass
        else:
            most = results.log_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            results.add_frame(frame(), [FOUND] * 3)
except OSError:
    results.finish("failed")
    print(stored, results.outcome, "no space")
except DataError as error:
    print(stored, results.outcome, error)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.sqlite"


def started(code: str, path: Path) -> subprocess.Popen[str]:
    helpers = str(Path(__file__).parent / "helpers")
    code = f"import sys; sys.path.append({helpers!r})\n{code}"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection with an edit pending."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def deleted(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("moved.sqlite"))


def replaced(path: Path) -> None:
    renamed(path)
    path.write_text("mine")


def store_while(path: Path, happens: Callable[[Path], None], after: int) -> None:
    """Store two frames, let something happen, and store ``after`` more."""
    with Results(path, INFO) as results:
        results.add_frame(frame(0), [FOUND])
        results.add_frame(frame(1), [FOUND])
        happens(path)
        for index in range(after):
            results.add_frame(frame(2 + index), [FOUND])


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("happens", [deleted, renamed, replaced])
def test_a_file_taken_away_is_noticed_and_what_was_stored_is_in_it(
    path: Path, happens: Callable[[Path], None], after: int
) -> None:
    with pytest.raises(ResultsLostError, match="while the run was writing") as caught:
        store_while(path, happens, after)
    assert caught.value.exit_code == 1
    moved = path.with_name("moved.sqlite")
    if happens is not deleted:
        assert rows(moved, "SELECT number FROM frames") == [(0,), (1,)]
        assert rows(moved, "SELECT outcome FROM runs") == [("failed",)]
    if happens is replaced:
        assert path.read_text() == "mine"
    else:
        assert [name.name for name in path.parent.iterdir() if name != moved] == []


def test_a_log_taken_away_is_noticed_and_its_rows_are_kept(path: Path) -> None:
    with pytest.raises(ResultsLostError, match="log was deleted"):
        store_while(path, lambda path: Path(f"{path}-wal").unlink(), 1)
    assert rows(path, "SELECT number FROM frames") == [(0,), (1,)]
    assert rows(path, "SELECT outcome FROM runs") == [("failed",)]


@pytest.mark.parametrize("content", [b"", b"x" * 40_000], ids=["emptied", "overwritten"])
def test_a_file_written_over_is_noticed(path: Path, content: bytes) -> None:
    with pytest.raises(ResultsLostError, match="emptied or overwritten while the run"):
        store_while(path, lambda path: path.write_bytes(content) and None, 1)


def test_an_index_taken_away_is_noticed(path: Path) -> None:
    """Another program would make a new one, and the two would not see each other's locks."""
    with pytest.raises(ResultsLostError, match="index of the results file's log was deleted"):
        store_while(path, lambda path: Path(f"{path}-shm").unlink(), 1)
    assert rows(path, "SELECT outcome FROM runs") == [("failed",)]


def test_one_file_takes_one_run_at_a_time(path: Path) -> None:
    with started(HOLDING, path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another run is writing") as caught:
            Results(path, INFO)
        assert caught.value.exit_code == 2
        other.kill()
        other.wait()
        said: list[str] = []
        with Results(path, INFO, note=said.append) as results:
            assert results.run_id == 2
            with pytest.raises(DataError, match="another run is writing"):
                Results(path, INFO)
            # The locks of this process are still there: who reads and leaves removes no log.
            look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM runs')"
            subprocess.run([sys.executable, "-c", look, path], check=True)
            results.add_frame(frame(), [FOUND])
        assert len(said) == 1
    assert rows(path, "SELECT outcome FROM runs") == [("did not end",), ("finished",)]


def test_a_lock_when_a_run_begins_is_waited_for(path: Path) -> None:
    with Results(path, INFO):
        pass
    with locked(path) as other:
        with pytest.raises(LockedError, match="another program has locked it"):
            Results(path, INFO, open_seconds=0)
        said: list[str] = []

        def free(text: str) -> None:
            said.append(text)
            other.execute("ROLLBACK")

        with Results(path, INFO, note=free) as results:
            assert results.run_id == 2
    assert said == [f"{path}: another program has locked it; waiting up to 30 s"]


def test_a_lock_when_a_run_ends_is_waited_for(path: Path) -> None:
    with Results(path, INFO, note=lambda text: other.execute("ROLLBACK")) as results:
        results.add_frame(frame(), [FOUND])
        with locked(path) as other:
            results.finish("stopped")
    assert rows(path, "SELECT outcome FROM runs") == [("stopped",)]


def add_frames(results: Results, count: int) -> None:
    for index in range(count):
        results.add_frame(frame(index), [FOUND])


def test_a_reader_of_an_old_state_is_said_and_the_log_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES_NOTED", 100_000)
    monkeypatch.setattr(module, "LOG_BYTES_LIMIT", 150_000)
    said: list[str] = []
    with Results(path, INFO, note=said.append) as results:
        # Without a reader the log is emptied.
        add_frames(results, 200)
        assert results.log_bytes() < 120_000
        assert said == []
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            before = reader.execute("SELECT count(*) FROM frames").fetchone()
            with pytest.raises(LockedError, match="reads an old state"):
                add_frames(results, 200)
            assert results.log_bytes() < 180_000
            assert [text.partition(" (")[0] for text in said] == [
                f"{path}: another program reads an old state of it"
            ]
            assert reader.execute("SELECT count(*) FROM frames").fetchone() == before
        results.add_frame(frame(), [FOUND])
        assert results.log_bytes() < 100_000


def log_bytes_of_40_frames(path: Path, group: int) -> int:
    records = [FrameRecord.of(frame(index), [FOUND]) for index in range(40)]
    with Results(path, INFO) as results:
        before = results.log_bytes()
        for start in range(0, 40, group):
            results.add_frames(records[start : start + group])
        return results.log_bytes() - before


def test_frames_stored_together_write_a_fraction(tmp_path: Path) -> None:
    alone = log_bytes_of_40_frames(tmp_path / "alone.sqlite", 1)
    together = log_bytes_of_40_frames(tmp_path / "together.sqlite", 10)
    assert together < alone / 4
    assert together / 40 < 1500  # it was 17 kB a frame


def test_network_disks_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "file_system", lambda place: "nfs4")
    with pytest.raises(DataError, match=r"network disk \(nfs4\).*local disk"):
        Results(path, INFO)
    assert not path.exists()


def test_the_kind_of_disk_is_read_from_the_system() -> None:
    assert file_system(Path("/proc")) == "proc"
    assert file_system(Path("/dev/shm")) == "tmpfs"


def test_a_disk_without_a_write_ahead_log_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect

    def as_there(place: Path, **options: Any) -> sqlite3.Connection:
        return real(f"file:{place}?vfs=unix-none", **{**options, "uri": True})

    monkeypatch.setattr(sqlite3, "connect", as_there)
    with pytest.raises(DataError, match="no write-ahead log"):
        Results(path, INFO)
    assert not path.exists()


def test_a_file_whose_tables_were_changed_is_refused(path: Path) -> None:
    with Results(path, INFO):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE cells RENAME COLUMN label TO class")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"it has no cells\.label"):
        Results(path, INFO)
    assert path.read_bytes() == before


def test_a_file_that_may_not_be_written_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Path, *options: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(claim.os, "open", refuse)
    with pytest.raises(DataError, match=r"cannot be written \(permission denied\)"):
        Results(path, INFO)


def script(path: Path) -> Path:
    helpers = Path(__file__).parent / "helpers"
    file = path.with_name("full.py")
    file.write_text(f"import sys; sys.path.append({str(helpers)!r})\n{FULL}")
    return file


def ended(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_a_run_whose_log_may_not_grow_still_notes_how_it_ended(path: Path) -> None:
    done = ended(sys.executable, "-P", script(path), path)
    stored, outcome, said = done.stdout.split(" ", 2)
    assert (stored, outcome) == ("20", "failed")
    assert "; " in said
    assert rows(path, "SELECT count(*), (SELECT outcome FROM runs) FROM frames") == [(20, outcome)]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_run_on_a_full_disk_still_notes_how_it_ended(path: Path) -> None:
    small = path.parent / "small"
    small.mkdir()
    # A disk of its own that only these processes see; what is on it is copied out of it.
    steps = (
        'mount -t tmpfs -o size=900k tmpfs "$1" && "$2" -P "$3" "$1/r.sqlite" others'
        ' && cp "$1"/r.* "$4"'
    )
    done = ended(
        *("unshare", "-rm", "sh", "-c", steps, "-"),
        *(small, sys.executable, script(path), path.parent),
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no disks of one's own here: {done.stderr}")
    stored, outcome, _ = done.stdout.split(" ", 2)
    assert (stored, outcome) == ("20", "failed")
    assert rows(path, "SELECT count(*), (SELECT outcome FROM runs) FROM frames") == [(20, outcome)]
