"""`qlvit-edge results`: what a person types, what leaves the file, and what is deleted."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import files_below, refused, run_command
from hypothesis import given
from hypothesis import strategies as st
from results_rows import INFO, rows
from reviewed_run import OF_SAMPLE, found, sign_run, write_run

from qlvit_edge.data.folder import scan
from qlvit_edge.data.source_map import read_source_map
from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell, crop
from qlvit_edge.preprocess import decode
from qlvit_edge.review import keeping
from qlvit_edge.review.rows import COLUMNS
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.tables import cell_text
from qlvit_edge.review.verifying import findings_in

ODD = "=HYPERLINK(1)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run 1: cells 1 to 5 in two kept frames."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    write_run(
        Path("r.sqlite"),
        [found("RED"), found("BLUE", x=30)],
        [found("RED", "unknown cell"), found("RED", "uncertain", 30), found("BLUE", x=2)],
        keep=Path("frames"),
    )
    return tmp_path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def results(*arguments: object) -> int:
    return run_command("results", *arguments)


def test_a_review_from_the_first_word_to_the_export(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    by = ("r.sqlite", "--by", "Ann")
    assert results("review", *by, "--cell", 2, "--class", "red", "--reason", "granules") == 0
    assert "record 1: change to RED, 1 cell, by Ann" in capfd.readouterr().out
    # The unknown cell is not confirmed with its class.
    assert results("review", *by, "--confirm-class", "RED", "--confirm-class", "blue") == 0
    said = capfd.readouterr().out
    assert "record 2: confirm, 3 cells, by Ann" in said
    assert "to do: 1 unknown cell left (3)" in said
    assert "1 unknown cell left (3)" in refused(capfd, "results", "review", *by, "--done")
    assert results("review", *by, "--cell", 3, "--exclude", "--reason", "smudge", "--done") == 0
    assert results("sign", *by) == 0
    assert "signed by Ann at" in capfd.readouterr().out
    assert results("show", "r.sqlite", "--cells") == 0
    shown = capfd.readouterr().out
    assert "excluded by people: 1 cell" in shown
    assert "excluded: smudge" in shown
    assert results("show", "r.sqlite", "--json") == 0
    seen = json.loads(capfd.readouterr().out)
    assert seen["state"] == "signed"
    counts = {one["label"]: one["count"] for one in seen["differential"]["classes"]}
    assert counts == {"RED": 3, "BLUE": 1}
    assert results("export", "r.sqlite", "--out", "x.csv") == 2
    assert "--by: run 1 is signed" in capfd.readouterr().err
    assert results("export", "r.sqlite", "--out", "x.csv", "--by", "Bob") == 0
    capfd.readouterr()
    assert results("list", "r.sqlite", "--json") == 0
    (listed,) = json.loads(
        capfd.readouterr().out.partition("]\n")[0].partition("[\n")[2].join("[]")
    )
    assert (listed["sample"], listed["operator"], listed["state"]) == ("S-0815", "Olga", "exported")
    assert results("review", *by, "--undo", 0) == 2
    assert results("review", *by, "--reopen", "--reason", "wrong slide") == 0
    assert results("verify", "r.sqlite") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to record"),
        (("--cell", 1), "--cell: say what they are"),
        (("--confirm",), "name the cells with --cell"),
        (("--cell", 1, "--confirm", "--exclude"), "give one of --class, --confirm and --exclude"),
        (("--cell", 1, "--class", "RED"), "--reason: every change needs one"),
        (("--reopen",), "--reason: every change needs one"),
        (("--cell", 1, "--class", "REDD", "--reason", "x"), "did you mean 'RED'?"),
        (("--cell", 77, "--confirm"), "run 1 has no cell 77"),
        (("--run", 4, "--cell", 1, "--confirm"), "it has no run 4; `results list` shows its runs"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_makes_no_sense_is_refused(
    capfd: pytest.CaptureFixture[str], options: tuple[object, ...], said: str
) -> None:
    assert results("review", "r.sqlite", "--by", "Ann", *options) == 2
    assert said in capfd.readouterr().err
    assert rows(Path("r.sqlite"), "SELECT count(*) FROM reviews") == [(0,)]


@pytest.mark.usefixtures("folder")
def test_every_row_that_leaves_says_what_it_is_worth() -> None:
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        assert results("export", "r.sqlite", "--out", name) == 0
    written = read_csv(Path("x.csv"))
    lines = [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()]
    import pyarrow.parquet as parquet

    table = parquet.read_table("x.parquet")
    assert len(written) == len(lines) == table.num_rows == 5
    for one in (*written, *lines, *table.to_pylist()):
        assert list(one) == list(COLUMNS)
        assert one["status"] == "PRELIMINARY: collected, not signed"
    assert table.schema.metadata[b"status"].startswith(b"PRELIMINARY")
    sign_run(Path("r.sqlite"))
    assert results("export", "r.sqlite", "--out", "x.csv", "--by", "Ann") == 0
    assert "PRELIMINARY" not in Path("x.csv").read_text()
    assert Path("x.csv").read_text().count("signed by Ann at") == 5


@pytest.mark.usefixtures("folder")
def test_the_three_tables_say_the_same() -> None:
    with ReviewStore(Path("r.sqlite")) as store:
        store.change(1, [1], ODD, reason='a, "b"', by="Änne", new=True)
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        assert results("export", "r.sqlite", "--out", name) == 0
    import pyarrow.parquet as parquet

    arrow = parquet.read_table("x.parquet").to_pylist()
    lines = [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()]
    for one, other in zip(arrow, lines, strict=True):
        assert {**one, "probabilities": json.loads(one["probabilities"])} == other
    written = read_csv(Path("x.csv"))
    for one, row in zip(arrow, written, strict=True):
        assert row == {name: str(cell_text(value)) for name, value in one.items()}
    assert arrow[0]["final_label"] == ODD
    assert arrow[0]["decided_by"] == "Änne"
    assert f"'{ODD}" in Path("x.csv").read_text()
    assert [one["probability"] for one in arrow] == [0.75] * 5


@given(st.text(min_size=1))
def test_no_text_is_a_formula_or_lost(text: str) -> None:
    written = str(cell_text(text))
    assert written[0] not in "=+-@\t\r"
    if text.isprintable():
        assert text in (written, written.removeprefix("'"))


@pytest.mark.usefixtures("folder")
def test_parquet_without_its_library_says_what_to_install(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_run(Path("r.sqlite"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = refused(capfd, "results", "export", "r.sqlite", "--out", "x.parquet", "--by", "Ann")
    assert "needs pyarrow, which is not installed; pip install 'qlvit-edge[parquet]'" in line
    assert not Path("x.parquet").exists()
    # What did not leave was not recorded as having left.
    assert rows(Path("r.sqlite"), "SELECT state FROM review_heads") == [("signed",)]


@pytest.mark.usefixtures("folder")
def test_reviewed_cells_are_a_folder_to_train_on(capfd: pytest.CaptureFixture[str]) -> None:
    with ReviewStore(Path("r.sqlite")) as store:
        store.change(1, [2], "RED", reason="granules", by="Ann")
        store.change(1, [4], "blast", reason="nucleoli", by="Ann", new=True)
        store.exclude(1, [3], reason="smudge", by="Ann")
    line = refused(capfd, "results", "export", "r.sqlite", "--reviewed", "--out", "cells")
    assert "no class has two reviewed cells" in line
    with ReviewStore(Path("r.sqlite")) as store:
        store.confirm(1, [1], "Ann")
        store.change(1, [5], "BLUE", reason="pale", by="Ann")
        store.change(1, [3], "BLUE", reason="pale", by="Ann")
    assert results("export", "r.sqlite", "--reviewed", "--out", "cells") == 0
    assert "blast: left out, it has one cell" in capfd.readouterr().err
    data = scan(Path("cells"))
    assert data.classes == ("BLUE", "RED")
    assert [image.relative for image in data.images] == [
        "BLUE/run001-cell0000003.png",
        "BLUE/run001-cell0000005.png",
        "RED/run001-cell0000001.png",
        "RED/run001-cell0000002.png",
    ]
    # What the model saw, to the pixel.
    frame = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    wanted = crop(frame, Cell(2, 10, 20, 16, 150.0), INFO.crop_margin)
    assert np.array_equal(decode(Path("cells/BLUE/run001-cell0000005.png")), wanted)
    assert set(read_source_map(Path("cells/sources.csv")).sources.values()) == {"S-0815"}
    assert "PRELIMINARY" in Path("cells/cells.csv").read_text()
    line = refused(capfd, "results", "export", "r.sqlite", "--reviewed", "--out", "cells")
    assert "is not empty" in line


def test_crops_need_frames_that_were_kept(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_run(Path("r.sqlite"), [found(), found()])
    for kind in ("crops", "geojson"):
        options = ("--format", kind, "--out", "out")
        line = refused(capfd, "results", "export", "r.sqlite", "--run", 2, *options)
        assert "the frames of run 2 were not kept; name a folder with `run --keep`" in line
        (folder / "frames").rename(folder / "moved")
        line = refused(capfd, "results", "export", "r.sqlite", "--run", 1, *options)
        assert "frames/run001-frame000000-plain.png, a frame of run 1, is not there" in line
        (folder / "moved").rename(folder / "frames")
    assert not (folder / "out").exists()
    Path("frames/run001-frame000000-plain.png").write_bytes(b"no picture")
    refused(capfd, "results", "export", "r.sqlite", "--run", 1, "--format", "crops", "--out", "out")
    assert files_below(folder) == {
        *("frames", "r.sqlite"),
        *(f"frames/run001-frame00000{n}-plain.png" for n in (0, 1)),
    }


@pytest.mark.usefixtures("folder")
def test_a_class_that_cannot_be_a_folder_is_refused_by_name(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ReviewStore(Path("r.sqlite")) as store:
        store.change(1, [1, 2], "../../etc", reason="odd", by="Ann", new=True)
    line = refused(capfd, "results", "export", "r.sqlite", "--reviewed", "--out", "cells")
    assert "'../../etc' cannot be the name of a folder" in line
    assert results("export", "r.sqlite", "--out", "x.csv") == 0


@pytest.mark.usefixtures("folder")
def test_detections_for_qupath_lie_where_the_cells_are() -> None:
    with ReviewStore(Path("r.sqlite")) as store:
        store.change(1, [1], "BLUE", reason="pale", by="Ann")
        store.exclude(1, [2], reason="smudge", by="Ann")
    assert results("export", "r.sqlite", "--format", "geojson", "--out", "qupath") == 0
    assert files_below(Path("qupath")) == {f"run001-frame00000{n}-plain.geojson" for n in (0, 1)}
    said = json.loads(Path("qupath/run001-frame000000-plain.geojson").read_text())
    assert said["type"] == "FeatureCollection"
    first, second = said["features"]
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[8, 10], [28, 10], [28, 26], [8, 26], [8, 10]]],
    }
    assert first["properties"]["objectType"] == "detection"
    assert first["properties"]["classification"]["name"] == "BLUE"
    assert first["properties"]["metadata"]["status"].startswith("PRELIMINARY")
    assert "classification" not in second["properties"]


def test_a_sample_is_deleted_with_all_that_is_of_it(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("r.sqlite")
    sign_run(path)
    write_run(path, [found("RED")], info=replace(OF_SAMPLE, sample="other"))
    precious = folder / "precious.png"
    precious.write_bytes(b"kept")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE frames SET saved_as = 'precious.png' WHERE id = 2")
        connection.commit()
    before = path.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody answers: nothing is deleted
    assert results("delete", path, "--sample", "S-0815", "--by", "Ann") == 130
    assert path.read_bytes() == before
    assert results("delete", path, "--sample", "S-0815", "--by", "Ann", "--yes") == 0
    assert rows(path, "SELECT run, sample FROM run_list") == [(2, "other")]
    assert rows(path, "SELECT count(*) FROM cells") == [(1,)]
    assert b"S-0815" not in path.read_bytes()
    assert b"precious" not in path.read_bytes()
    assert files_below(folder / "frames") == set()
    assert precious.exists()
    assert rows(path, "SELECT run, by_name, kind FROM review_list") == [(0, "Ann", "delete")]
    assert findings_in(path) == []
    # Its number is not given to another run.
    assert results("delete", path, "--sample", "other", "--by", "Ann", "--yes") == 0
    assert write_run(path, [found()]) == 3
    assert "it has no sample 'other'" in refused(
        capfd, "results", "delete", path, "--sample", "other", "--by", "Ann"
    )


@pytest.mark.usefixtures("folder")
def test_what_was_deleted_is_overwritten_where_the_space_cannot_be_given_back(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection, path: Path) -> None:
        raise DataError(path, "the disk is full", "free some space")

    monkeypatch.setattr(keeping, "_give_back", full)
    path = Path("r.sqlite")
    options = ("--sample", "S-0815", "--by", "Ann", "--yes")
    assert "the disk is full" in refused(capfd, "results", "delete", path, *options)
    assert rows(path, "SELECT count(*) FROM runs") == [(0,)]
    assert b"S-0815" not in path.read_bytes()
    assert files_below(Path("frames")) == set()


@pytest.mark.usefixtures("folder")
def test_what_is_old_goes_and_what_is_signed_stays(capfd: pytest.CaptureFixture[str]) -> None:
    path = Path("r.sqlite")
    sign_run(path)
    for sample in ("old", "young"):
        write_run(path, [found("RED")] * 300, info=replace(OF_SAMPLE, sample=sample))
    with closing(sqlite3.connect(path)) as connection:
        day = time.time() - 10 * 86400
        connection.execute("UPDATE runs SET started = ? WHERE id = 2", (day,))
        connection.commit()
    delete = ("delete", path, "--by", "cron", "--yes")
    assert results(*delete, "--older-than", 11) == 0
    assert "nothing to delete" in capfd.readouterr().out
    assert results(*delete, "--older-than", 9) == 0
    assert rows(path, "SELECT sample FROM run_list") == [("S-0815",), ("young",)]
    size = path.stat().st_size
    assert results(*delete, "--above", 2 * size / 1e6) == 0
    assert "nothing to delete" in capfd.readouterr().out
    assert results(*delete, "--above", 0) == 0
    assert rows(path, "SELECT sample FROM run_list") == [("S-0815",)]
    assert path.stat().st_size < size
    assert results("delete", path, "--by", "x") == 2
    assert results(*delete, "--above", 1, "--older-than", 1) == 2


def test_saved_pictures_count_when_results_are_too_large(folder: Path) -> None:
    """A file of 100 kB whose pictures fill the disk is too large, and the oldest run goes."""
    path = Path("r.sqlite")
    for _ in range(2):
        write_run(path, [found()], keep=folder / "frames")
    for number, kilobytes in ((1, 600), (2, 900), (3, 500)):
        name = f"frames/run{number:03d}-frame000000-plain.png"
        (folder / name).write_bytes(bytes(kilobytes * 1000))
    limit = 1.7 + path.stat().st_size / 1e6
    assert results("delete", path, "--above", limit, "--by", "cron", "--yes") == 0
    assert rows(path, "SELECT run FROM run_list") == [(2,), (3,)]
    assert not (folder / "frames/run001-frame000000-plain.png").exists()
    assert results("delete", path, "--above", 0.7, "--by", "cron", "--yes") == 0
    assert rows(path, "SELECT run FROM run_list") == [(3,)]


@pytest.mark.usefixtures("folder")
def test_a_backup_is_one_whole_file(capfd: pytest.CaptureFixture[str]) -> None:
    sign_run(Path("r.sqlite"))
    with ReviewStore(Path("r.sqlite")) as store:  # with rows in the log
        store.export(1, to="x", by="Ann")
        assert results("backup", "r.sqlite", "b.sqlite") == 0
    for query in ("SELECT * FROM cells", "SELECT * FROM reviews", "PRAGMA user_version"):
        assert rows(Path("b.sqlite"), query) == rows(Path("r.sqlite"), query)
    assert findings_in(Path("b.sqlite")) == []
    assert not list(Path().glob("b.sqlite-*"))
    assert "is there already" in refused(capfd, "results", "backup", "r.sqlite", "b.sqlite")
