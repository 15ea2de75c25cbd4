"""The daily check: reference sets, their history, what is learnt from it, and what is noticed."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from full_disk import files_limited
from reviewed_run import found, sign_run, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell
from qlvit_edge.reference import chart
from qlvit_edge.reference.checking import homogeneity, measured
from qlvit_edge.reference.history import Record, append_record, of_the_same, read_history
from qlvit_edge.reference.judgement import judge
from qlvit_edge.reference.limits import (
    LEARNT_FROM,
    SERIES,
    broken_rules,
    learnt,
    share_deviations,
    t_deviations,
)
from qlvit_edge.reference.making import make_reference
from qlvit_edge.reference.reference_set import (
    LabelledCell,
    labels_in,
    located,
    read_reference,
    table_text,
)
from qlvit_edge.review.store import ReviewStore

HEADER = "file,x_px,y_px,width_px,height_px,label\n"


def a_set(folder: Path, rows: str = "a.png,1,2,30,40,RED\n", header: str = HEADER) -> Path:
    """A folder with one picture of 64 × 48 pixels and a table."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 200, np.uint8))
    (folder / "cells.csv").write_text(header + rows, encoding="utf-8")
    return folder


def a_record(day: int = 0, **changes: Any) -> Record:
    """A check of a hundred cells, all as usual."""
    usual: dict[str, Any] = {
        "at": f"2026-{1 + day // 28:02}-{1 + day % 28:02}T08:00:00+00:00",
        **{"reference": "a" * 64, "model": "m", "model_sha256": "b" * 64, "program": "p"},
        **{"runtime": "r", "kernels": "k", "labelled": 100, "located": 97, "compared": 97},
        **{"agreed": 90, "extra": 0, "answers": ["RED"] * 100, "counts": {"RED": 60, "BLUE": 40}},
    }
    measures = {"red": 187, "green": 174, "blue": 183, "white level": 210, "sharpness": 2838}
    noise = random.Random(day)
    usual["measures"] = {
        name: value + noise.uniform(-1.5, 1.5) * (10 if name == "sharpness" else 1)
        for name, value in measures.items()
    }
    return Record(**usual | changes)


def history(days: int, **changes: Any) -> list[Record]:
    return [a_record(day, **changes) for day in range(days)]


def with_measure(name: str, value: float, day: int = 50, **changes: Any) -> Record:
    usual = a_record(day)
    return a_record(day, measures={**usual.measures, name: value}, **changes)


def texts(records: list[Record], today: Record) -> str:
    return " | ".join(one.text for one in judge(records, today).warnings)


def test_a_set_is_read_and_its_hash_knows_every_part(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "s")
    seen = read_reference(folder)
    assert seen.cells == 1
    assert seen.fields[0].cells == (LabelledCell((1, 2, 30, 40), "RED"),)
    assert read_reference(folder).sha256 == seen.sha256
    a_set(folder, "a.png,1,2,30,41,RED\n")
    assert read_reference(folder).sha256 != seen.sha256
    a_set(folder)
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), 201, np.uint8))
    assert read_reference(folder).sha256 != seen.sha256


def test_what_a_table_holds_is_what_was_written(tmp_path: Path) -> None:
    cell = LabelledCell((1, 2, 30, 40), 'odd, "name"')
    text = table_text([("a.png", cell)])
    folder = a_set(tmp_path, text.removeprefix(HEADER))
    assert read_reference(folder).fields[0].cells == (cell,)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "it names no cell"),
        ("a.png,1,2,30,40,\n", "line 2: the cell has no label"),
        ("a.png,1,2,30,40\n", "line 2: the cell has no label"),
        ("a.png,-1,2,30,40,RED\n", "x_px is '-1'"),
        ("a.png,1.5,2,30,40,RED\n", "x_px is '1.5'"),
        ("a.png,1,2,0,40,RED\n", "width_px is '0', no whole number from 1"),
        ("a.png,1,2,30,٣,RED\n", "height_px"),
        ("b.png,1,2,30,40,RED\n", "b.png, which is not there"),
        ("../a.png,1,2,30,40,RED\n", "not the name of a picture"),
        ("/etc/passwd,1,2,30,40,RED\n", "not the name of a picture"),
        ('a.png,1,2,30,40,"RED\n', "no CSV"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_reference(a_set(tmp_path, rows))
    assert said in str(caught.value)


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_reference(tmp_path / "gone")
    with pytest.raises(DataError, match=r"holds no cells\.csv"):
        read_reference(tmp_path)
    with pytest.raises(DataError, match="no column 'label'"):
        read_reference(a_set(tmp_path, header="file,x_px,y_px,width_px,height_px\n"))
    (tmp_path / "cells.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="no CSV in UTF-8"):
        read_reference(tmp_path)


def test_labels_are_matched_and_other_classes_said(tmp_path: Path) -> None:
    folder = a_set(tmp_path, "a.png,1,2,3,4,Immature_Granulocyte\na.png,9,9,3,4,blast\n")
    seen = read_reference(folder)
    assert labels_in(seen, ["immature granulocyte", "monocyte"]) == {
        "Immature_Granulocyte": "immature granulocyte",
        "blast": None,
    }
    with pytest.raises(DataError, match="the model has none of its classes"):
        labels_in(seen, ["RED"])


def test_cells_are_located_one_to_one() -> None:
    wanted = [LabelledCell((0, 0, 20, 20), "A"), LabelledCell((4, 0, 20, 20), "B")]
    assert located([Cell(3, 0, 20, 20, 1.0)], wanted) == [None, 0]
    assert located([Cell(3, 0, 20, 20, 1.0), Cell(0, 1, 20, 20, 1.0)], wanted) == [1, 0]
    assert located([Cell(12, 0, 20, 20, 1.0)], wanted[:1]) == [None]
    assert located([], wanted) == [None, None]


def test_a_set_is_made_of_a_signed_run(tmp_path: Path) -> None:
    results, target = tmp_path / "r.sqlite", tmp_path / "set"
    keep = tmp_path / "kept"
    keep.mkdir()
    write_run(results, [found(), found("BLUE", x=40)], [found("BLUE")], keep=keep)
    with ReviewStore(results) as store:
        with pytest.raises(DataError, match="run 1 is not signed"):
            make_reference(store, store.run(1), target, "Ann")
        cells = store.run(1).cells
        store.exclude(1, [cells[0].id], reason="dirt", by="Ann")
        store.change(1, [cells[1].id], "RED", reason="seen twice", by="Ann")
    sign_run(results)
    with ReviewStore(results) as store:
        assert make_reference(store, store.run(1), target, "Ann") == {"RED": 1, "BLUE": 1}
        assert store.records(1)[-1].kind == "export"
        with pytest.raises(DataError, match="is not empty"):
            make_reference(store, store.run(1), target, "Ann")
    seen = read_reference(target)
    assert [(len(one.cells), one.cells[0].label) for one in seen.fields] == [
        (1, "RED"),
        (1, "BLUE"),
    ]
    assert seen.fields[0].cells[0].box == (40, 10, 20, 16)
    for one in seen.fields:
        assert one.path.read_bytes() == (keep / one.path.name).read_bytes()


def test_a_run_without_kept_frames_makes_no_set(tmp_path: Path) -> None:
    results = tmp_path / "r.sqlite"
    write_run(results, [found()])
    sign_run(results)
    with ReviewStore(results) as store, pytest.raises(DataError, match="were not kept"):
        make_reference(store, store.run(1), tmp_path / "set", "Ann")
    assert not (tmp_path / "set").exists()


def test_history_is_added_to_and_damaged_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    assert read_history(path) == ([], [])
    path.touch()
    assert read_history(path) == ([], [])
    records = history(3)
    for record in records:
        append_record(path, record)
    assert read_history(path) == (records, [])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"located":97', b'"located":970') + lines[2])
    assert read_history(path) == ([records[0], records[2]], [2])
    path.write_bytes(lines[0] + lines[1][:40])
    append_record(path, records[2])
    assert read_history(path) == ([records[0], records[2]], [2])


@pytest.mark.parametrize(
    "line", ["[]", "{}", "null", '{"format": 2}', "\x00" * 30, '{"a": NaN}', "[" * 5000]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match="no line of it is a check"):
        read_history(path)
    with pytest.raises(DataError, match="is a folder"):
        read_history(tmp_path)


def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    append_record(path, a_record())
    before = path.read_bytes()
    for room in (0, 100):
        with (
            files_limited(len(before) + room),
            pytest.raises(DataError, match="the check cannot be noted"),
        ):
            append_record(path, a_record(1))
        assert path.read_bytes() == before
    append_record(path, a_record(1))
    assert len(read_history(path)[0]) == 2


def test_only_checks_of_the_same_are_compared() -> None:
    records = [*history(3), a_record(3, model_sha256="c" * 64), a_record(4)]
    assert of_the_same(records, a_record(5)) == [*records[:3], records[4]]
    anew = a_record(5, begins=True)
    assert of_the_same(records, anew) == []
    assert of_the_same([*records, anew], a_record(6)) == [anew]


def test_deviations_of_shares_and_of_t() -> None:
    """Against the binomial and Student's t distribution as tables have them."""
    assert share_deviations(50, 100, 0.5) == pytest.approx(0, abs=1e-9)
    assert share_deviations(35, 100, 0.5) == pytest.approx(-3.0, abs=0.1)
    assert share_deviations(65, 100, 0.5) == pytest.approx(3.0, abs=0.1)
    assert share_deviations(65, 100, 0.5) == pytest.approx(-share_deviations(35, 100, 0.5))
    assert share_deviations(0, 100, 0.9) == -8.0
    assert share_deviations(100, 100, 0.001) == 8.0
    assert t_deviations(2.093024, 19) == pytest.approx(1.959964, abs=1e-4)
    assert t_deviations(-2.093024, 19) == pytest.approx(-1.959964, abs=1e-4)
    assert t_deviations(0.0, 4) == pytest.approx(0, abs=1e-9)
    assert t_deviations(4.604095, 4) == pytest.approx(2.575829, abs=1e-4)
    assert t_deviations(1e200, 4) == 8.0


def test_a_usual_day_is_usual() -> None:
    assert texts([], a_record()) == ""
    for days in (1, 4, 5, 19, 20, 60):
        assert texts(history(days), a_record(days)) == ""
    assert judge(history(7), a_record(7)).is_learning
    assert not judge(history(20), a_record(20)).is_learning


def test_fewer_cells_located_or_called_as_people_do() -> None:
    records = history(20)
    assert "cells located: " in texts(records, a_record(20, located=88, compared=88, agreed=82))
    assert "1-3s" in texts(records, a_record(20, located=88, compared=88, agreed=82))
    assert "agreement: " in texts(records, a_record(20, agreed=70))
    twice = {"located": 92, "compared": 92, "agreed": 86}
    assert texts(records, a_record(20, **twice)) == ""
    assert "2-2s" in texts([*records, a_record(20, **twice)], a_record(21, **twice))
    first = history(1)
    assert "1-3s" in texts(first, a_record(1, located=60, compared=60, agreed=56))


def test_measures_that_jump_or_drift() -> None:
    records = history(20)
    assert "white level: " in texts(records, with_measure("white level", 200))
    assert "above the mean" in texts(records, with_measure("sharpness", 2990))
    assert texts(records, with_measure("white level", 208.0)) == ""
    twice = with_measure("red", 184.7)
    assert texts(records, twice) == ""
    assert "2-2s" in texts([*records, twice], twice)
    slow = with_measure("blue", 184.4)
    row = [*records, slow, slow, slow]
    assert texts(row[:-1], slow) == ""
    assert "4-1s" in texts(row, slow)
    assert texts(history(4), with_measure("white level", 100)) == ""
    assert "1-3s" in texts(history(5), with_measure("white level", 100))
    assert texts(history(LEARNT_FROM - 1), slow) == ""


def test_rows_count_on_one_side_and_once_limits_are_learnt() -> None:
    records = history(LEARNT_FROM)
    below, above = with_measure("red", 184.7), with_measure("red", 189.3)
    assert texts([*records, below], above) == ""
    assert "2-2s" in texts([*records, above], above)
    few = learnt(SERIES[2], records[:10])
    assert few is not None
    assert 2 < abs(few.deviations(below) or 0) < 3
    assert broken_rules(few, [below], below) == []


def test_limits_are_those_of_the_first_checks() -> None:
    later = [with_measure("red", 150.0, day) for day in range(20, 40)]
    for series in SERIES:
        first, all_of_them = learnt(series, history(20)), learnt(series, [*history(20), *later])
        assert first is not None
        assert all_of_them is not None
        assert (first.centre, first.checks) == (all_of_them.centre, all_of_them.checks)


def test_one_cell_that_was_never_missed_before_is_no_alarm() -> None:
    every = {"labelled": 17, "located": 17, "compared": 17, "agreed": 17, "answers": []}
    missed = every | {"located": 16, "compared": 16, "agreed": 16}
    assert texts(history(3, **every), a_record(3, **missed)) == ""
    assert texts(history(20, **every), a_record(20, **missed)) == ""
    gone = every | {"located": 13, "compared": 13, "agreed": 13}
    assert "cells located" in texts(history(20, **every), a_record(20, **gone))


def test_pictures_that_never_change_have_limits_too() -> None:
    same = [with_measure("sharpness", 2838.0, day) for day in range(20)]
    limits = learnt(SERIES[-1], same)
    assert limits is not None
    assert broken_rules(limits, same, with_measure("sharpness", 2840)) == []
    assert broken_rules(limits, same, with_measure("sharpness", 2900)) != []


def test_checks_out_of_limits_are_not_learnt_from() -> None:
    odd = [with_measure("white level", 100.0, day, outside=True) for day in range(5)]
    records = [*history(10), *odd, *history(10)]
    assert judge(records, a_record(30)).learnt == 20
    assert "white level" in texts(records, with_measure("white level", 190))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "c" * 64, "kernels": "other"}, "the model changed"),
        ({"reference": "c" * 64}, "the reference set changed"),
        ({"program": "qlvit-edge 9"}, "the program changed: p before, qlvit-edge 9 now"),
        ({"runtime": "other"}, "the runtime changed"),
        ({"kernels": "other"}, "the kernels changed"),
        ({"camera": "usb:1"}, ""),
    ],
)
def test_changes_are_told_once(changes: dict[str, Any], said: str) -> None:
    records = history(20)
    today = a_record(20, **changes)
    assert (said in texts(records, today)) if said else texts(records, today) == ""
    assert texts(records, today).count("changed") == bool(said)
    assert texts([*records, today], a_record(21, **changes)) == ""
    assert texts(records, a_record(20, **changes, begins=True)) == ""


def test_another_camera_or_calibration_is_told() -> None:
    records = [*history(3, camera="usb:0"), a_record(3)]
    assert "the camera changed: usb:0 before" in texts(records, a_record(4, camera="usb:1"))
    calibrated = a_record(4, camera="usb:0", calibration="d" * 64)
    assert "calibration changed: none before" in texts(records, calibrated)


def test_one_other_answer_is_noticed() -> None:
    records = history(2)
    other = a_record(2, answers=["RED"] * 98 + [None, "BLUE"])
    assert "2 answers of 100 are others than on 2026-01-01" in texts(records, other)
    assert judge(records, other).warnings[0].outside


def test_differentials_of_one_slide() -> None:
    first = Counter({"A": 60, "B": 30, "C": 10})
    same, other = Counter({"A": 57, "B": 33, "C": 10}), Counter({"A": 30, "B": 60, "C": 10})
    assert (homogeneity(first, same) or 0) > 0.5
    assert (homogeneity(first, other) or 1) < 0.0027
    assert homogeneity(first, Counter({"A": 4})) is None
    assert homogeneity(first, Counter({"A": 60})) == homogeneity(first, Counter({"A": 60}))
    seen = {"camera": "usb:0", "frames": 9, "counts": dict(first), "camera_counts": dict(other)}
    assert "is not that of the stored fields" in texts([], a_record(**seen))
    assert texts([], a_record(**seen | {"camera_counts": dict(same)})) == ""


def test_chance_alone_seldom_looks_like_another_slide() -> None:
    rng = np.random.default_rng(1)
    shares = [0.6, 0.28, 0.07, 0.03, 0.02]
    small = 0
    for _ in range(300):
        first, second = (
            Counter(dict(zip("ABCDE", map(int, rng.multinomial(100, shares)), strict=True)))
            for _ in range(2)
        )
        small += (homogeneity(first, second, 499) or 1) < 0.05
    assert 3 <= small <= 27  # 15 are expected; beyond lies about one in a thousand


def test_measures_of_a_picture() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[...] = (200, 150, 100)
    seen = measured(image)
    assert (seen["red"], seen["green"], seen["blue"]) == (200.0, 150.0, 100.0)
    assert seen["white level"] == 200.0


def test_chart_shows_limits_and_what_is_outside_and_other() -> None:
    records = [a_record(0, model_sha256="c" * 64), *history(22)]
    today = with_measure("white level", 190)
    found = judge(records, today).noted(today)
    assert (found.outside, found.broken) == (True, ["white level"])
    today = found.model_copy(update={"warnings": ["white level: <low>"]})
    html = chart.render([*records, today], judge(records, today), 2)
    assert html.count(f'fill="{chart._BAD}"') == 1
    assert html.count("<svg") == len(SERIES)
    assert "white level: &lt;low&gt;" in html
    assert "2 lines of the history cannot be read" in html
    for colour in (chart._GOOD, chart._BAD, chart._OTHER):
        assert f'fill="{colour}"' in html
    assert 'stroke-dasharray="6 3"' in html
    assert "http" not in html
    assert "<script" not in html
    only = chart.render([a_record()], judge([], a_record()), 0)
    assert "limits are learnt: 0 of 20" in only


def test_limits_in_the_chart_are_those_that_are_judged() -> None:
    records, today = history(20), a_record(20)
    for series in SERIES:
        limits = learnt(series, records)
        assert limits is not None
        for far, at in chart._bounds(series, limits, today):
            if far == 0 or series.parts is not None:
                continue
            beyond = limits.deviations(with_measure(series.name, at))
            assert beyond == pytest.approx(far, abs=0.01)
    located_limits = learnt(SERIES[0], records)
    assert located_limits is not None
    low = dict(chart._bounds(SERIES[0], located_limits, today))[-3]
    inside, outside = int(np.ceil(low * 100)), int(np.floor(low * 100))
    assert share_deviations(inside, 100, located_limits.centre) > -3
    assert share_deviations(outside, 100, located_limits.centre) <= -3


def test_lines_hold_no_escapes_and_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    append_record(path, a_record(model="odd\x1b[31m\nname"))
    assert path.read_bytes().count(b"\n") == 1
    assert b"\x1b" not in path.read_bytes()
    assert json.loads(path.read_text())["model"] == "odd\x1b[31m\nname"
    assert read_history(path)[0][0].model == "odd\x1b[31m\nname"


def test_a_name_without_an_end_is_not_printed_to_its_end(tmp_path: Path) -> None:
    name = "a" + "\x1b[31m" * 2000 + ".png"
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_reference(a_set(tmp_path / "set", f"{name},1,2,30,40,RED\n"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
