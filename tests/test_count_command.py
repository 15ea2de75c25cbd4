"""The differential from the user's side: `run --stop-at`, `--analyser`, and `count`."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest
from command import refused, run_command
from results_rows import rows
from tiny_metadata import metadata, plain_image, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge.microscope import migrations
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.modelfile.metadata import ModelMetadata, embed
from qlvit_edge.review.store import ReviewStore

SHARES = {"RED": 12, "GREEN": 5, "BLUE": 3}


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Plain images, first of one colour, then of the next."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for name, count in SHARES.items():
        for number in range(count):
            path = folder / f"{name} {number:02}.png"
            assert cv2.imwrite(str(path), plain_image(name)[:, :, ::-1])
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


@pytest.fixture
def corrected_model(tmp_path: Path) -> Path:
    """The tiny model with mistakes: a fifth of GREEN is called RED."""
    names = list(COLOURS)
    labels = [number for number in range(3) for _ in range(100)]
    answers = [
        names.index("RED") if names[label] == "GREEN" and place % 5 == 0 else label
        for place, label in enumerate(labels)
    ]
    mistakes = Confusion.of(labels, answers, None, data="colours", accept_at=0.8)
    described = ModelMetadata.model_validate({**dict(metadata()), "confusion": mistakes})
    path = tmp_path / "corrected.tflite"
    path.write_bytes(embed(tiny_model(), described))
    return path


def run_json(
    capfd: pytest.CaptureFixture[str], model: Path, cells: Path, out: Path, *options: object
) -> dict[str, Any]:
    command = ("run", model, "--camera", cells, "--out", out, "--find", "none", "--json")
    assert run_command(*command, *options) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def count_json(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capfd.readouterr()
    assert run_command("count", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_a_run_stops_when_enough_cells_are_counted(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    found = run_json(capfd, model, cells, out, "--stop-at", 7)
    assert found["outcome"] == "counted"
    assert found["frames"] == found["differential"]["cells"] == 7
    assert rows(out, "SELECT outcome, (SELECT count(*) FROM cells) FROM runs") == [("counted", 7)]
    # Fewer than were asked for: the source ended.
    found = run_json(capfd, model, cells, out, "--stop-at", 21)
    assert (found["outcome"], found["differential"]["cells"]) == ("finished", 20)
    found = run_json(capfd, model, cells, out, "--stop-at", 7, "--frames", 3)
    assert (found["outcome"], found["frames"]) == ("finished", 3)


def test_only_accepted_cells_make_it_full(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grey = plain_image("RED", level=30)
    for number in range(4):
        assert cv2.imwrite(str(cells / f"A {number}.png"), grey)
    found = run_json(capfd, model, cells, tmp_path / "r.sqlite", "--stop-at", 3)
    assert found["frames"] == 7
    assert found["verdicts"]["uncertain"] == found["differential"]["beside"]["unclassed"] == 4
    assert found["differential"]["cells"] == 3


def test_the_end_is_heard_and_seen_on_a_terminal(model: Path, cells: Path, tmp_path: Path) -> None:
    main, side = pty.openpty()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        os.dup2(side, 2)
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.environ["TERM"] = "xterm"
        program = "from qlvit_edge.cli import main; main()"
        words = ["run", model, "--camera", cells, "--out", tmp_path / "r.sqlite"]
        words += ["--find", "none", "--stop-at", "5"]
        os.execv(sys.executable, [sys.executable, "-c", program, *map(str, words)])
    os.close(side)
    said = b""
    try:
        while part := os.read(main, 4096):
            said += part
    except OSError:  # the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(main)
    assert said.count(b"\a") == 1
    assert b"5 cells counted, --stop-at 5 is reached" in said


def test_no_bell_sounds_in_a_file(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("run", model, "--camera", cells, "--out", tmp_path / "r.sqlite", "--find", "none")
    assert run_command(*command, "--stop-at", 5) == 0
    said = capfd.readouterr()
    assert "note: 5 cells counted, --stop-at 5 is reached" in said.err
    assert "\a" not in said.out + said.err
    assert "Run 1 of tiny: counted" in said.out


def test_the_summary_has_limits_the_correction_and_the_analyser(
    corrected_model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, typed = tmp_path / "r.sqlite", "red=10,green=75,blue=15"
    found = run_json(capfd, corrected_model, cells, out, "--analyser", typed)["differential"]
    by_label = {one["label"]: one for one in found["classes"]}
    assert {label: one["count"] for label, one in by_label.items()} == SHARES
    assert by_label["GREEN"]["share"] == 0.25
    assert by_label["GREEN"]["limits"] == pytest.approx([0.0866, 0.4910], abs=5e-4)
    # 5 GREEN are four fifths of what is there.
    assert by_label["GREEN"]["corrected"] == pytest.approx(0.3125)
    assert by_label["RED"]["corrected"] == pytest.approx(0.5375)
    assert by_label["BLUE"]["corrected"] == pytest.approx(0.15)
    assert found["not_corrected"] is None
    assert found["held_out_cells"] == 300
    inside = {label: one["analyser"]["inside"] for label, one in by_label.items()}
    assert inside == {"RED": False, "GREEN": False, "BLUE": True}
    # The same from the results file.
    stored = count_json(capfd, out, "--model", corrected_model, "--analyser", typed)
    assert stored["differential"] == found
    assert (stored["run_id"], stored["outcome"]) == (1, "finished")


def test_a_table_is_printed_and_says_why_there_is_no_correction(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out)
    assert run_command("count", out) == 0
    shown = capfd.readouterr().out
    assert "Run 1 of tiny: finished" in shown
    assert "60.0%" in shown
    assert "no corrected estimate: the results file does not hold" in shown
    assert run_command("count", out, "--model", model, "--analyser", "red=85,green=10,blue=5") == 0
    shown = capfd.readouterr().out
    assert "the model file does not hold the model's mistakes" in shown
    assert Counter(word for word in shown.split() if word in ("inside", "OUTSIDE")) == {
        "inside": 2,
        "OUTSIDE": 1,
    }


def test_another_threshold_than_the_mistakes_are_known_from_bears_no_correction(
    corrected_model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    found = run_json(capfd, corrected_model, cells, out, "--accept-at", 0.5)["differential"]
    assert "accepted from 50.0%" in found["not_corrected"]
    stored = count_json(capfd, out, "--model", corrected_model)["differential"]
    assert stored["not_corrected"] == found["not_corrected"]


def test_the_last_run_is_shown_unless_another_is_named(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    for frames in (4, 9):
        run_json(capfd, model, cells, out, "--frames", frames)
    assert count_json(capfd, out)["differential"]["cells"] == 9
    assert count_json(capfd, out, "--run", 1)["differential"]["cells"] == 4


def test_counting_changes_nothing(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out)
    before = out.read_bytes()
    out.chmod(0o444)
    count_json(capfd, out)
    assert out.read_bytes() == before


def test_a_count_says_that_people_have_reviewed_the_run(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out)
    before = count_json(capfd, out)
    assert before["review"] is None
    with ReviewStore(out) as store:
        store.exclude(1, [1], reason="dust", by="Ann")
    after = count_json(capfd, out)
    assert after == {**before, "review": "collected"}
    assert run_command("count", out) == 0
    said = capfd.readouterr().out
    assert "these are the model's answers" in said
    assert "results show" in said


def test_cut_cells_and_those_of_no_run_stand_beside(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out)
    with closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE cells SET cut = 1 WHERE id <= 2")
        connection.execute("UPDATE cells SET verdict = 'unknown cell' WHERE id IN (3, 4, 5)")
    found = count_json(capfd, out)["differential"]
    assert found["cells"] == 15
    assert found["beside"]["cut by the frame's edge"] == 2
    assert found["beside"]["unknown cell"] == 3


def test_an_old_results_file_is_read_as_it_is(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out)
    with closing(sqlite3.connect(out, isolation_level=None)) as connection:
        later = set().union(*migrations.ADDED.values())
        named = "SELECT name FROM sqlite_master WHERE type = ?"
        for (view,) in connection.execute(named, ("view",)).fetchall():
            connection.execute(f"DROP VIEW {view}")
        for (table,) in connection.execute(named, ("table",)).fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            kept = [name for name in columns if f"{table}.{name}" not in later]
            if kept:
                connection.execute(f"CREATE TABLE new AS SELECT {', '.join(kept)} FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            if kept:
                connection.execute(f"ALTER TABLE new RENAME TO {table}")
        connection.execute("PRAGMA user_version = 1")
    assert count_json(capfd, out)["differential"]["cells"] == 20
    assert rows(out, "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (("--run", "7"), "it has no run 7; its last run is 1"),
        (("--analyser", ""), "--analyser: is empty"),
        (("--analyser", " "), "--analyser: is empty"),
        (("--analyser", "reed=100"), "no class 'reed', did you mean 'RED'?"),
        (("--model", "other.tflite"), "not the model of run 1, which was tiny"),
        (("--model", "blood-nanoo"), "blood-nano"),
    ],
)
def test_wrong_use_of_count_is_one_line(
    model: Path,
    cells: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, str],
    finding: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "r.sqlite"
    run_json(capfd, model, cells, out, "--frames", 1)
    (tmp_path / "other.tflite").write_bytes(embed(tiny_model(size=9), metadata(size=9)))
    assert finding in refused(capfd, "count", out, *arguments)


def test_what_is_no_results_file_is_refused(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE cells (id)")
    for path, finding in (
        (tmp_path / "missing.sqlite", "no such file"),
        (tmp_path, "is a folder"),
        (model, "damaged"),
        (foreign, "another program's database"),
    ):
        assert finding in refused(capfd, "count", path)
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_mistyped_analyser_ends_a_run_before_it_begins(
    model: Path, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    command = ("run", model, "--camera", cells, "--out", out, "--find", "none")
    assert "did you mean 'GREEN'?" in refused(capfd, *command, "--analyser", "gren=90,red=10")
    assert not out.exists()
    shutil.copy(model, tmp_path / "typed in.toml")
    line = refused(capfd, *command, "--analyser", tmp_path / "typed in.toml")
    assert "not valid TOML" in line
    assert not out.exists()
