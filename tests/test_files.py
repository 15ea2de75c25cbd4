"""Files are whole or not there, leftovers of killed commands go, and a folder has one writer."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlvit_edge import files
from qlvit_edge.errors import DataError
from qlvit_edge.files import atomic_path, exclusive, remove_leftovers, write_text

WRITING = """
import sys
from pathlib import Path
from qlvit_edge.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""

HOLDING = """
import os, sys
from pathlib import Path
from qlvit_edge.files import exclusive
with exclusive(Path(sys.argv[1])):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # lives on until its parent and the test are gone
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


@contextmanager
def process(code: str, argument: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of its own that runs ``code``, and the first line it prints."""
    command = [sys.executable, "-P", "-c", code, str(argument)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.fixture
def leftover(tmp_path: Path) -> Path:
    """What a killed command left beside `model.tflite`."""
    with process(WRITING, tmp_path / "model.tflite") as (child, name):
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert Path(name).read_text() == "half"
    return Path(name)


def test_the_next_command_that_writes_there_removes_what_a_killed_one_left(
    tmp_path: Path, leftover: Path
) -> None:
    files._tidied.clear()
    write_text(tmp_path / "other.json", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_temporary_files_of_living_commands_and_foreign_files_stay(
    tmp_path: Path, leftover: Path
) -> None:
    foreign = [".model.tflite.abcdefgh.tmp", ".a.qlvit-edge-x-abc.tmp", "a.qlvit-edge-1-b.tmp"]
    for name in foreign:
        (tmp_path / name).write_text("theirs")
    linked = tmp_path / f".link.qlvit-edge-{2**22 + 1}-abcdefgh.tmp"
    linked.symlink_to(tmp_path / foreign[0])
    with (
        process(WRITING, tmp_path / "model.tflite") as (_, living),
        atomic_path(tmp_path / "own.json") as own,
    ):
        remove_leftovers(tmp_path)
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {*foreign, linked.name, Path(living).name, own.name}


def test_a_process_of_another_container_keeps_its_file(tmp_path: Path) -> None:
    """Its number means nothing here; that it holds the file does."""
    with process(WRITING, tmp_path / "model.tflite") as (_, name):
        moved = Path(name).rename(tmp_path / f".model.qlvit-edge-{2**22 + 1}-abcdefgh.tmp")
        remove_leftovers(tmp_path)
        assert moved.exists()


def test_a_leftover_with_this_process_s_number_goes(tmp_path: Path) -> None:
    """In a container every command may be process 1."""
    old = tmp_path / f".model.qlvit-edge-{os.getpid()}-abcdefgh.tmp"
    old.touch()
    remove_leftovers(tmp_path)
    assert not old.exists()


def test_long_names_have_room_for_a_temporary_one(tmp_path: Path) -> None:
    for name in ("n" * 250 + ".json", "細" * 80 + ".json"):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"


def fail_halfway(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(KeyError):
        fail_halfway(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "report.json"
    link.symlink_to(tmp_path / "disk" / "real.json")
    for content in ("first", "second"):
        write_text(link, content)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "real.json").read_text() == content


def test_devices_and_pipes_are_not_replaced_by_files(tmp_path: Path) -> None:
    """Run by root, `--json /dev/null` would else leave the whole machine without it."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/full")
    for target in (pipe, link):
        with pytest.raises(DataError, match="it is a device or a pipe"):
            write_text(target, "x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert stat.S_ISCHR(link.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_command_does_not_replace_the_file_it_prints_into(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom qlvit_edge.files import write_text\n"
        "print('said', flush=True)\nwrite_text(Path('/dev/stdout'), 'x')"
    )
    out = tmp_path / "out"
    with out.open("wb") as stream:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", code], stdout=stream, stderr=subprocess.PIPE, check=False
        )
    assert b"/dev/stdout: it is where this command prints" in ended.stderr
    assert out.read_text() == "said\n"


def test_a_folder_has_one_writer_and_a_kill_frees_it(tmp_path: Path) -> None:
    with process(HOLDING, tmp_path) as (holder, forked):
        try:
            with pytest.raises(DataError, match="another command") as caught, exclusive(tmp_path):
                pytest.fail("two at once")
            assert caught.value.exit_code == 2
            holder.kill()
            holder.wait()
            assert Path(f"/proc/{forked}").exists()
            with exclusive(tmp_path):
                pass
        finally:
            os.kill(int(forked), signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_where_folders_cannot_be_locked_a_file_in_them_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.fcntl.flock

    def as_on_a_network_disk(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(9, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", as_on_a_network_disk)
    with exclusive(tmp_path):
        with pytest.raises(DataError, match="another command"), exclusive(tmp_path):
            pytest.fail("two at once")
        assert [path.name for path in tmp_path.iterdir()] == [".qlvit-edge.lock"]
    with exclusive(tmp_path):
        pass


def test_a_disk_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with pytest.raises(DataError, match="has no locks"), exclusive(tmp_path):
        pytest.fail("held without a lock")
