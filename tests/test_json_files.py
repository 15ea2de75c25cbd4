"""JSON that a person names is read within bounds, or refused in one line without waiting."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import refused

from qlvit_edge.reading import UnreadableFileError, parse_json, read_json, read_regular

HOSTILE = {
    "digits": (b'{"seed": ' + b"1" * 100_000 + b"}", "number of 100,000 digits"),
    "depth": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "nan": (b'{"seed": NaN}', "holds NaN"),
    "infinity": (b'{"seed": -Infinity}', "holds -Infinity"),
    "too large": (b'{"seed": 1e999}', "too large a number"),
    "twice": (b'{"a": 1, "\\u0061": 2}', "the key 'a' twice"),
    "escaped twice": (b'{"\\u001b[2J": 1, "\\u001b[2J": 2}', r"the key '.*u001b\[2J' twice"),
    "half a letter": (b'{"a": "\\ud800"}', "half a letter"),
    "no UTF-8": (b'{"a": "\xff"}', "not JSON"),
    "cut": (b'{"a": ', "not JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused(name: str) -> None:
    content, finding = HOSTILE[name]
    with pytest.raises(UnreadableFileError, match=finding):
        parse_json(content)


def test_good_json_is_read_with_and_without_a_mark_of_byte_order(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, "\\u00e4", null]}')
    assert read_json(tmp_path / "good.json") == {"a": [1, 2.5, "ä", None]}


def test_a_number_of_as_many_digits_as_allowed_is_read() -> None:
    assert parse_json(b"1" * 100) == int("1" * 100)
    with pytest.raises(UnreadableFileError):
        parse_json(b"1" * 101)


def test_files_over_the_limit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_regular(tmp_path / "f", 5) == b"12345"
    with pytest.raises(UnreadableFileError, match="5 bytes, at most 4"):
        read_regular(tmp_path / "f", 4)


def _place(kind: str, path: Path) -> None:
    """Put something that is no regular file where JSON is expected."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "larger than it says":
        path.symlink_to("/proc/self/pagemap")
    else:
        path.write_bytes(HOSTILE[kind][0])


KINDS = ["fifo", "endless", "folder", "digits", "depth", "nan", "twice", "half a letter"]


def _commands(tmp_path: Path) -> dict[str, tuple[Path, list[object]]]:
    """Where a command reads JSON or CSV, and the command."""
    cells, run = tmp_path / "cells", tmp_path / "run"
    split, groups = tmp_path / "split.json", tmp_path / "groups.csv"
    return {
        "split": (split, ["data", "check", cells, "--split", split]),
        "groups": (groups, ["data", "split", cells, "--out", tmp_path / "o", "--groups", groups]),
        "run.json": (run / "run.json", ["calibrate", run]),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["split", "groups", "run.json"])
def test_commands_refuse_it_in_one_line(
    where: str, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("A", "B"):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for number in (0, 1):
            image = np.full((8, 8, 3), 40 * number + 90 * (name == "B"), np.uint8)
            cv2.imwrite(str(tmp_path / "cells" / name / f"{number}.png"), image)
    (tmp_path / "run").mkdir()
    path, command = _commands(tmp_path)[where]
    _place(kind, path)
    line = refused(capfd, *command)
    assert str(path) in line
    if kind in ("fifo", "endless"):
        assert "is not a regular file" in line


def test_what_is_longer_than_it_says_is_not_read_without_end(tmp_path: Path) -> None:
    _place("larger than it says", tmp_path / "f")
    with pytest.raises(UnreadableFileError):
        read_regular(tmp_path / "f", 1000)
