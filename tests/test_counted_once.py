"""Each cell of the slide once: in the differential, live and stored, in views and reviews."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run_command
from results_rows import INFO, rows
from reviewed_run import found
from tiny_metadata import tiny_file

import qlvit_edge.bundled
from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.tally import BESIDE, CUT, DOUBTFUL, UNPLACED
from qlvit_edge.exchange.oru import message_of
from qlvit_edge.exchange.sheet import render
from qlvit_edge.exchange.sheet_reading import read_sheet
from qlvit_edge.exchange.standing import standing_of
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import FRAME_COLUMNS, FrameRecord
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.run_count import RunCount
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stored_count import read_count, stored_differential
from qlvit_edge.page.state import View
from qlvit_edge.review.keeping import delete, older_than
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.verifying import findings_in
from qlvit_edge.slide.placement import Placement

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
STAGE = f"simulated:{FIELDS}?stage=hand&seed=3&fps=0"
ONCE = replace(INFO, counted_once=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


def record(
    index: int,
    cells: Sequence[ClassifiedCell],
    numbers: Sequence[int | None],
    qualities: Sequence[float] = (),
    merged: tuple[tuple[int, int], ...] = (),
) -> FrameRecord:
    """A frame whose cells are of some numbers on the slide."""
    frame = Frame(np.zeros((48, 64, 3), np.uint8), index, 1000.0 + index, "")
    island = None if None in numbers else 1
    placement = Placement("counted", island, 0, 0, tuple(numbers), tuple(qualities), merged)
    return FrameRecord.of(frame, cells, placement=placement)


def store(path: Path, *frames: FrameRecord, doubtful: tuple[int, ...] = ()) -> None:
    with Results(path, ONCE) as results:
        for one in frames:
            results.doubtful = doubtful
            results.add_frames([one])


def stored(path: Path) -> dict[str, Any]:
    """Classes with their counts, and what stands beside."""
    differential = stored_differential(read_count(path), None, None)
    counts = {one.label: one.count for one in differential.classes if one.count}
    return counts | {name: n for name, n in differential.beside.items() if n}


def test_a_better_view_changes_the_class_of_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    frames = [
        record(0, [found("RED")], [1], [6.3]),
        record(1, [found("BLUE")], [1], [7.2]),
        record(2, [found("RED")], [1], [7.1]),
    ]
    for number, expected in ((1, {"RED": 1}), (2, {"BLUE": 1}), (3, {"BLUE": 1})):
        store(path, *frames[:number])
        assert stored(path) == expected


def test_cells_that_turn_out_to_be_one_keep_the_better_view(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(
        path,
        record(0, [found("RED"), found("BLUE")], [1, 2], [7.1, 7.2]),
        record(1, [], [], merged=((2, 1),)),
    )
    assert stored(path) == {"BLUE": 1}
    assert rows(path, "SELECT number, best FROM unique_cells") == [(1, 2)]
    assert rows(path, "SELECT DISTINCT unique_cell FROM cells") == [(1,)]


def test_doubtful_cells_and_findings_without_a_place_stand_beside(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(
        path,
        record(0, [found(), found("RED", "unknown cell")], [1, 2], [7.1, 7.1]),
        record(1, [found(), found("RED", "uncertain")], [3, 4], [7.1, 7.1]),
        record(2, [found(), found("BLUE")], [None, None]),
        doubtful=(2, 3),
    )
    assert stored(path) == {"RED": 1, "unclassed": 1, "unknown cell": 1, DOUBTFUL: 1, UNPLACED: 2}
    run = "SELECT cells, accepted_cells, counted_once, doubtful_cells FROM run_list"
    assert rows(path, run) == [(4, 1, "yes", 2)]
    counts = "SELECT label, cells, accepted, uncertain, unknown_cells, doubtful FROM class_counts"
    assert rows(path, counts) == [("RED", 4, 1, 1, 1, 1)]
    listed = rows(path, "SELECT unique_cell, doubtful FROM cell_list ORDER BY cell")
    assert listed == [(1, "no"), (2, "yes"), (3, "yes"), (4, "no"), (None, None), (None, None)]


def test_a_doubt_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, ONCE) as results:
        for doubtful, expected in (((1,), {DOUBTFUL: 1}), ((), {"RED": 1})):
            results.doubtful = doubtful
            results.add_frames([record(0, [found()], [1], [7.1])])
            assert stored(path) == expected


def test_people_s_differential_leaves_out_what_the_count_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(
        path,
        record(0, [found("RED"), found("BLUE")], [1, 2], [7.1, 7.1]),
        record(1, [found("RED")], [1], [7.2]),
        record(2, [found("RED")], [None]),
        doubtful=(2,),
    )
    with ReviewStore(path) as review:
        cells = review.run().cells
        assert [(cell.id, cell.findings, cell.uncounted) for cell in cells] == [
            (2, (2,), DOUBTFUL),
            (3, (1, 3), None),
            (4, (4,), UNPLACED),
        ]
        review.confirm(1, [1, 2, 4], "Ann")
        differential = review.run().differential()
        review.done(1, "Ann")
        signed = review.sign(1, "Ann")
    counts = {one.label: one.count for one in differential.classes if one.count}
    assert counts | {name: n for name, n in differential.beside.items() if n} == stored(path)
    assert signed.counts == {"RED": 1, f"({DOUBTFUL})": 1, f"({UNPLACED})": 1}


def test_what_was_confirmed_stays_when_a_better_view_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, ONCE) as results:
        results.add_frames([record(0, [found("RED")], [1], [6.1])])
        with ReviewStore(path) as review:
            review.confirm(1, [1], "Ann")
            results.add_frames([record(1, [found("BLUE")], [1], [7.1])])
            (cell,) = review.run().cells
            assert (cell.label, cell.final) == ("BLUE", "RED")
            review.undo(1, "Ann")
            review.confirm(1, [2], "Ann")
            assert [cell.final for cell in review.run().cells] == ["BLUE"]


def test_an_altered_best_view_is_found_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(path, record(0, [found("RED")], [1], [7.1]), record(1, [found("BLUE")], [1], [7.2]))
    with ReviewStore(path) as review:
        review.confirm(1, [2], "Ann")
        review.done(1, "Ann")
    assert findings_in(path) == []
    changes = ("unique_cells SET best = 1", "unique_cells SET doubtful = 1")
    for change in (*changes, "runs SET counted_once = 0"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            connection.execute(f"UPDATE {change}")
            connection.execute("COMMIT")
            assert any("run 1 was altered" in one for one in findings_in(path)), change
            connection.execute("BEGIN")
            connection.execute("UPDATE unique_cells SET best = 2, doubtful = 0")
            connection.execute("UPDATE runs SET counted_once = 1")
            connection.execute("COMMIT")
    assert findings_in(path) == []


def test_deleting_a_run_deletes_its_unique_cells(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(path, record(0, [found()], [1], [7.1]))
    delete(path, older_than(path, -1), "Ann")
    assert rows(path, "SELECT * FROM unique_cells") == []


def run_json(
    capfd: pytest.CaptureFixture[str], model: Path, out: Path, *options: object
) -> dict[str, Any]:
    command = ("run", model, "--camera", STAGE, "--out", out, "--json", *options)
    assert run_command(*command) == 0
    said: dict[str, Any] = json.loads(capfd.readouterr().out)
    return said


def test_what_is_not_counted_stands_beside_on_sheet_and_in_message(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store(
        path,
        record(0, [found(), found("BLUE")], [1, 2], [7.1, 7.1]),
        record(1, [found(), found("RED", "uncertain")], [3, 4], [7.1, 7.1]),
        record(2, [found(), found("BLUE")], [None, None]),
        doubtful=(3,),
    )
    for decided in range(4):
        with ReviewStore(path) as review:
            if decided == 1:
                review.confirm(1, [1, 3, 5], "Ann")
            if decided == 2:
                review.exclude(1, [6], reason="dust", by="Ann")
            if decided == 3:
                review.confirm(1, [2, 4], "Ann")
            run = review.run(1)
        standing, sheet = standing_of(run), read_sheet(path, 1, None)
        beside = {name: n for name, n in standing.differential.beside.items() if n}
        unclassed = {} if decided == 3 else {"unclassed": 1}
        assert beside == {DOUBTFUL: 1, UNPLACED: 2 if decided < 2 else 1, **unclassed}
        assert standing.differential.cells == (3 if decided == 3 else 2)
        assert standing.doubtful == 0
        assert sheet.model.cells == 2
        assert {name: n for name, n in sheet.model.beside.items() if n} == {
            "unclassed": 1,
            DOUBTFUL: 1,
            UNPLACED: 2,
        }
    assert f"Beside people's count: excluded 1, {DOUBTFUL} 1, {UNPLACED} 1." in unescape(
        render(sheet)
    )
    assert "Of these cells" not in message_of(run).text
    assert "each once: 4 unique, 1 doubtful; 2 in frames without a place" in render(sheet)


def test_random_cells_are_drawn_from_what_is_counted(tmp_path: Path) -> None:
    path, image = tmp_path / "r.sqlite", tmp_path / "f.png"
    image.touch()
    frames = [
        record(0, [found(), found("BLUE")], [1, 2], [7.1, 7.1]),
        record(1, [found(), found("RED", "uncertain")], [3, 4], [7.1, 7.1]),
        record(2, [found()], [None]),
    ]
    kept = FRAME_COLUMNS.index("kept_as")
    whole = [replace(one, frame=(*one.frame[:kept], str(image))) for one in frames]
    store(path, *whole, doubtful=(3,))
    with ReviewStore(path) as review:
        assert set(review.draw(1, "Ann").cells) == {1, 2}
        estimate = review.run(1).blind_estimate()
    assert estimate is not None
    assert (estimate.among, estimate.accepted) == (2, 2)
    assert findings_in(path) == []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """The sessions of `run`."""
    sessions: list[Session] = []
    begin = Session.__init__

    def noting(self: Session, settings: Settings) -> None:
        begin(self, settings)
        sessions.append(self)

    monkeypatch.setattr(Session, "__init__", noting)
    return sessions


def test_summary_page_count_and_review_agree_on_a_slide(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], seen: list[Session]
) -> None:
    out = tmp_path / "r.sqlite"
    summary = run_json(capfd, model, out, "--frames", 16)
    assert run_command("count", out, "--model", model, "--json") == 0
    counted = json.loads(capfd.readouterr().out)
    assert counted["counted_once"] is True
    assert counted["differential"] == summary["differential"]
    shown = json.loads(json.dumps(View(seen[0]).state()["differential"]))
    for one in (*shown["classes"], *summary["differential"]["classes"]):
        one.pop("corrected_limits")  # of fewer draws
    assert shown == summary["differential"]
    # What the tracker counts is what the table adds up to.
    slide, table = summary["slide"], summary["differential"]
    beside = table["beside"]
    whole = table["cells"] + sum(table["apart"].values())
    whole += sum(beside[name] for name in BESIDE if name not in (CUT, UNPLACED))
    assert (whole, beside[CUT], beside[UNPLACED]) == (
        slide["unique"],
        slide["in_part"],
        slide["unplaced"],
    )
    assert 0 < slide["unique"] < summary["cells"] / 3
    with ReviewStore(out) as review:
        cells = review.run().cells
    assert len(cells) == slide["unique"] + slide["in_part"] + slide["unplaced"]
    accepted = table["cells"] + sum(table["apart"].values())
    views = "SELECT sum(cells), sum(accepted) FROM class_counts"
    assert rows(out, views) == [(slide["unique"] + slide["in_part"], accepted)]


def test_a_run_stops_at_so_many_cells_of_the_slide(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    options = ("--accept-at", "0.4", "--frames", 60)
    every = run_json(capfd, model, out, "--stop-at", 3, "--no-count-once", *options)
    once = run_json(capfd, model, out, "--stop-at", 3, *options)
    assert every["outcome"] == once["outcome"] == "counted"
    assert once["differential"]["cells"] >= 3
    assert once["frames"] > every["frames"]
    assert run_command("count", out, "--run", 2, "--json") == 0
    assert json.loads(capfd.readouterr().out)["differential"]["cells"] >= 3


def test_a_run_that_counts_in_each_frame_is_as_before(tmp_path: Path, model: Path) -> None:
    count = RunCount(Classifier(model))
    count.add([record(0, [found("RED"), found("RED")], [1, 1], [7.1, 7.1])], (1,))
    assert count.counted().accepted == {"RED": 2}
    path = tmp_path / "r.sqlite"
    with Results(path, INFO) as results:
        results.add_frames([record(0, [found(), found()], [None, None])])
    assert stored(path) == {"RED": 2}
