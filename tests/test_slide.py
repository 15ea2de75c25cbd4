"""Every frame has one place on the slide, and every cell counts once."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smear import Smear, smear

import qlvit_edge.bundled
from qlvit_edge.camera.simulated import SimulatedCamera
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.camera.stage import StageCamera
from qlvit_edge.errors import CameraError, DataError
from qlvit_edge.fields.finder import Cell
from qlvit_edge.microscope.placing import note_doubtful, note_placement, tracker_for
from qlvit_edge.microscope.schema import make
from qlvit_edge.slide.atlas import MOST_PICTURES, Atlas
from qlvit_edge.slide.constellation import vote
from qlvit_edge.slide.correlation import Spectra, correlate
from qlvit_edge.slide.link import link
from qlvit_edge.slide.placement import Placement
from qlvit_edge.slide.quality import Answer
from qlvit_edge.slide.tracker import SlideTracker
from qlvit_edge.slide.view import view_of

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
SLIDE = smear()
Walk = list[tuple[float, float]]


def line(start: tuple[float, float], end: tuple[float, float], steps: int) -> Walk:
    """Corners of frames from one place to another, without the last."""
    shares = np.linspace(0, 1, steps, endpoint=False)[:, None]
    return [(float(x), float(y)) for x, y in start + shares * np.subtract(end, start)]


def walked(slide: Smear, walk: Walk, tracker: SlideTracker | None = None) -> list[Placement]:
    """Place the frames of a walk."""
    tracker = tracker or SlideTracker()
    return [tracker.add(slide.frame(*at), slide.cells(*at), slide.answers(*at)) for at in walk]


# Two findings on one shift


@settings(max_examples=20, deadline=None)
@given(st.integers(-80, 80), st.integers(-60, 60), st.sampled_from([0.6, 1.0]))
def test_both_findings_give_the_true_shift(x: int, y: int, light: float) -> None:
    first = view_of(SLIDE.frame(300, 250))
    second = view_of(SLIDE.frame(300 + x, 250 + y, light))
    peak = correlate(Spectra(first), Spectra(second))
    voted = vote(first.bodies, second.bodies, (96, 128))
    assert peak is not None
    assert voted is not None
    true = x / first.scale, y / first.scale
    assert (peak.x, peak.y) == pytest.approx(true, abs=0.5)
    assert (voted.x, voted.y) == pytest.approx(true, abs=1.0)
    assert link(Spectra(first), Spectra(second)) is not None


def test_a_shift_of_a_fraction_of_a_pixel_is_found() -> None:
    first, second = (Spectra(view_of(SLIDE.frame(x, 250))) for x in (300, 300.75))
    peak = correlate(first, second)
    assert peak is not None
    assert peak.x * first.view.scale == pytest.approx(0.75, abs=0.35)


def test_places_that_share_nothing_are_not_linked() -> None:
    views = [Spectra(view_of(SLIDE.frame(x, y))) for x in (0, 220, 440, 660) for y in (0, 180, 360)]
    assert not [
        (a, b) for a in range(len(views)) for b in range(a) if link(views[a], views[b]) is not None
    ]


def test_what_is_fixed_to_the_camera_does_not_hold_the_slide() -> None:
    y, x = np.mgrid[-1:1:144j, -1:1:192j]
    vignette = np.clip(1.35 - 0.6 * (x**2 + y**2), 0, 1)[..., None]
    vignette[np.hypot(x, y) > 1.2] = 0
    frames = [(SLIDE.frame(at, 250) * vignette).astype(np.uint8) for at in (300, 330)]
    found = link(*(Spectra(view_of(frame)) for frame in frames))
    assert found is not None
    assert (found.x * 1.5, found.y * 1.5) == pytest.approx((30, 0), abs=1)


def test_where_the_two_findings_disagree_there_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Spectra(view_of(SLIDE.frame(x, 250))) for x in (300, 330))
    assert link(first, second) is not None
    moved = view_of(SLIDE.frame(345, 250)).bodies
    object.__setattr__(second.view, "bodies", moved)
    assert link(first, second) is None


# Islands


def test_a_blank_field_has_no_place_and_its_findings_are_not_counted() -> None:
    tracker = SlideTracker()
    blank = np.full((144, 192, 3), 230, np.uint8)
    placement = tracker.add(blank, [Cell(5, 5, 30, 30, 500.0)], [Answer("cell", "accepted")])
    assert placement == Placement("blank", None, 0.0, 0.0, (None,))
    count = tracker.count()
    assert (count.unique, count.doubtful, count.unplaced, count.islands) == (0, 0, 1, 0)


def test_a_frame_that_fits_nowhere_begins_an_island_whose_cells_are_doubtful() -> None:
    tracker = SlideTracker()
    walk = line((0, 0), (300, 0), 12)
    walked(SLIDE, [*walk, walk[-1]], tracker)
    before = tracker.count()
    assert before.doubtful == 0
    assert before.islands == 1
    jumped = line((600, 450), (620, 450), 2)
    placements = walked(SLIDE, jumped, tracker)
    assert {placement.island for placement in placements} == {2}
    count = tracker.count()
    there = set.union(*(SLIDE.whole(*at) for at in jumped))
    assert len(there) > 0
    assert (count.unique, count.doubtful) == (before.unique + len(there), len(there))


def test_an_island_that_is_reached_is_joined_and_its_cells_are_the_same_ones() -> None:
    tracker = SlideTracker()
    walk = line((0, 100), (500, 100), 24)
    jump = line((250, 330), (250, 300), 2)  # no overlap with the first row
    back = line((250, 300), (250, 100), 9)
    walked(SLIDE, walk + jump, tracker)
    assert tracker.count().islands == 2
    placements = walked(SLIDE, back, tracker)
    assert [joined[:2] for placement in placements for joined in placement.joined] == [(2, 1)]
    seen = set.union(*(SLIDE.whole(*at) for at in walk + jump + back))
    count = tracker.count()
    assert (count.unique, count.doubtful, count.islands) == (len(seen), 0, 1)
    last = placements[-1]
    assert (last.x, last.y) == pytest.approx((back[-1][0], back[-1][1] - 100), abs=3)


def test_a_loop_closes_and_no_cell_on_it_counts_twice() -> None:
    corners = [(20.0, 20.0), (620.0, 20.0), (620.0, 480.0), (20.0, 480.0), (20.0, 20.0)]
    walk = [at for a, b in itertools.pairwise(corners) for at in line(a, b, 14)] + line(
        corners[-1], (120, 20), 5
    )
    tracker = SlideTracker()
    placements = walked(SLIDE, walk, tracker)
    for placement, at in zip(placements, walk, strict=True):
        assert (placement.x, placement.y) == pytest.approx((at[0] - 20, at[1] - 20), abs=4)
    count = tracker.count()
    assert count.unique == len(set.union(*(SLIDE.whole(*at) for at in walk)))
    assert (count.doubtful, count.islands) == (0, 1)


def test_least_squares_spreads_a_loop_s_error_over_its_ties() -> None:
    atlas = Atlas()
    view = view_of(SLIDE.frame(0, 0))
    for x, y in ((0, 0), (100, 0), (100, 100), (0, 104)):
        atlas.keep(view, 1, x, y)
    for first, second, x, y in ((0, 1, 100, 0), (1, 2, 0, 100), (2, 3, -100, 4)):
        assert atlas.tie(first, second, x, y)
    assert atlas.tie(3, 0, 0.0, -100.0)  # the chain says -104
    expected = [(0, 0), (100, -1), (100, 98), (0, 101)]
    assert atlas.places == pytest.approx(np.array(expected, float), abs=1e-3)


def test_a_tie_that_cannot_be_true_is_left_out() -> None:
    atlas = Atlas()
    view = view_of(SLIDE.frame(0, 0))
    for x in (0, 100, 200):
        atlas.keep(view, 1, x, 0)
    assert atlas.tie(0, 1, 100, 0)
    assert atlas.tie(1, 2, 100, 0)
    assert not atlas.tie(2, 0, -150.0, 40.0)
    assert atlas.contradictions == 1
    assert atlas.places.tolist() == [[0, 0], [100, 0], [200, 0]]


# Cells


def test_a_cell_at_the_border_is_the_one_that_is_seen_whole_later() -> None:
    x, y = (int(value) for value in SLIDE.whites[0])
    tracker = SlideTracker()
    near = [other for other in SLIDE.whites.tolist() if other != [x, y]]
    alone = Smear(SLIDE.image, np.array([[x, y]]))
    assert near
    at = max(0, x - 192 + 5), max(0, y - 70)
    tracker.add(alone.frame(*at), alone.cells(*at), [Answer("part", "abstained")])
    assert (tracker.count().unique, tracker.count().in_part) == (0, 1)
    for step in (10, 25, 40):
        later = at[0] + step, at[1]
        placement = tracker.add(
            alone.frame(*later), alone.cells(*later), [Answer("whole", "accepted")]
        )
        assert placement.numbers == (1,)
    count = tracker.count()
    assert (count.unique, count.in_part, count.labels) == (1, 0, {"whole": 1})


def test_the_sharpest_view_s_answer_is_kept() -> None:
    alone = Smear(SLIDE.image, SLIDE.whites[:1])
    at = float(alone.whites[0][0] - 90), float(alone.whites[0][1] - 70)
    tracker = SlideTracker()
    sharp = alone.frame(*at)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 1.5), np.uint8)
    for image, label in ((sharp, "sharp"), (blurred, "blurred")):
        tracker.add(image, alone.cells(*at), [Answer(label, "accepted")])
    assert tracker.count().labels == {"sharp": 1}


def test_two_cells_of_one_frame_are_never_one() -> None:
    tracker = SlideTracker()
    cells = [Cell(60, 60, 40, 40, 500.0), Cell(66, 66, 40, 40, 500.0)]
    for _ in range(3):
        placement = tracker.add(SLIDE.frame(300, 200), cells, [Answer("cell", "accepted")] * 2)
        assert placement.numbers == (1, 2)
    assert tracker.count().unique == 2


def test_what_most_frames_do_not_show_is_doubtful() -> None:
    tracker = SlideTracker()
    ghost = [Cell(80, 60, 30, 30, 500.0)]
    tracker.add(SLIDE.frame(300, 200), ghost, [Answer("cell", "accepted")])
    for _ in range(2):
        tracker.add(SLIDE.frame(300, 200), [], [])
    assert tracker.count().doubtful == 0
    for _ in range(6):
        tracker.add(SLIDE.frame(300, 200), [], [])
    assert (tracker.count().unique, tracker.count().doubtful) == (1, 1)


def answered(cells: list[Cell]) -> list[Answer]:
    return [Answer("cell", "accepted")] * len(cells)


def test_of_two_cells_in_one_place_the_one_seen_less_is_doubtful() -> None:
    tracker = SlideTracker()
    cell, again = Cell(60, 60, 40, 40, 500.0), Cell(72, 72, 40, 40, 500.0)
    beside = Cell(110, 60, 40, 40, 500.0)
    for cells in ([cell, again, beside], [cell, beside], [cell, beside]):
        tracker.add(SLIDE.frame(300, 200), cells, answered(cells))
    assert tracker.count().unique == 3
    assert tracker.doubtful_cells() == {2}
    for cells in ([again], [again], [again]):
        tracker.add(SLIDE.frame(300, 200), cells, answered(cells))
    assert 2 not in tracker.doubtful_cells()
    assert 1 in tracker.doubtful_cells()


def test_cells_that_touch_are_not_doubtful() -> None:
    tracker = SlideTracker()
    cells = [Cell(60, 60, 40, 40, 500.0), Cell(88, 60, 40, 40, 500.0)]
    for _ in range(5):
        tracker.add(SLIDE.frame(300, 200), cells, answered(cells))
    assert (tracker.count().unique, tracker.count().doubtful) == (2, 0)


def test_what_one_frame_alone_shows_is_doubtful_where_others_are_seen_often() -> None:
    tracker = SlideTracker()
    first = [Cell(60, 60, 30, 30, 500.0)]
    tracker.add(SLIDE.frame(300, 200), first, answered(first))
    assert tracker.count().doubtful == 0  # nothing is seen often yet
    cells = [*first, Cell(110, 60, 30, 30, 500.0)]
    for _ in range(4):
        tracker.add(SLIDE.frame(300, 200), cells, answered(cells))
    late = [*cells, Cell(150, 100, 30, 30, 500.0)]
    tracker.add(SLIDE.frame(300, 200), late, answered(late))
    assert tracker.doubtful_cells() == {3}
    tracker.add(SLIDE.frame(300, 200), late, answered(late))
    assert tracker.doubtful_cells() == set()


def test_cells_that_come_to_lie_in_one_place_become_one() -> None:
    tracker = SlideTracker()
    blurred = cv2.GaussianBlur(SLIDE.frame(300, 200), (0, 0), 1.5)
    tracker.add(SLIDE.frame(300, 200), [], [])
    for image, cells in (
        (blurred, [Cell(60, 60, 40, 40, 500.0)]),
        (blurred, [Cell(80, 60, 40, 40, 500.0)]),
    ):
        tracker.add(np.asarray(image, np.uint8), cells, answered(cells))
    assert tracker.count().unique == 2
    nearer = [Cell(70, 60, 40, 40, 500.0)]  # nearest to the first, and a better view of it
    placement = tracker.add(SLIDE.frame(300, 200), nearer, answered(nearer))
    assert placement.numbers == (1,)
    assert placement.merged == ((2, 1),)
    assert tracker.count().unique == 1


def test_every_cell_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="1 cells but 0 answers"):
        SlideTracker().add(SLIDE.frame(0, 0), [Cell(5, 5, 9, 9, 9.0)], [])


# What a map shows


def test_the_map_tells_what_was_seen_well() -> None:
    tracker = SlideTracker()
    walked(SLIDE, [(300.0, 200.0)] * 2, tracker)
    beside = SLIDE.frame(340, 200)
    tracker.add(np.asarray(cv2.GaussianBlur(beside, (0, 0), 2.5), np.uint8), [], [])
    (island,) = tracker.islands()
    states = {(tile.column, tile.row): tile.state for tile in island.tiles}
    assert island.tile == pytest.approx(144 / 8)
    assert states[0, 0] == "counted"
    assert states[11, 0] == "too fast"
    assert island.frame == pytest.approx((40, 0, 192, 144), abs=2)
    assert len(island.cells) == len(SLIDE.whole(300, 200))
    assert tracker.count().frames == {"counted": 2, "too fast": 1}


def test_pictures_of_kept_views_are_given_up_the_oldest_first() -> None:
    atlas = Atlas()
    view = view_of(SLIDE.frame(0, 0))
    for number in range(MOST_PICTURES + 30):
        atlas.keep(view, 1, 100.0 * number, 0)
        atlas.used(0)
    pictured = atlas.pictured()
    assert len(pictured) == MOST_PICTURES
    assert 0 in pictured
    assert 1 not in pictured
    assert atlas.spectra(1) is None
    assert len(atlas.places) == MOST_PICTURES + 30


@pytest.mark.slow
def test_ten_thousand_frames_of_one_place_after_another_keep_no_more_than_the_slide() -> None:
    corners = [(20.0, 20.0), (420.0, 20.0), (420.0, 300.0), (20.0, 300.0), (20.0, 20.0)]
    lap = [at for a, b in itertools.pairwise(corners) for at in line(a, b, 25)]
    frames = [(SLIDE.frame(*at), SLIDE.cells(*at), SLIDE.answers(*at)) for at in lap]
    tracker = SlideTracker()
    sizes = []
    for _ in range(100):
        for frame in frames:
            tracker.add(*frame)
        (island,) = tracker.islands()
        sizes.append((len(island.track), len(island.tiles), tracker.count().unique))
    assert sizes[-1] == sizes[9]
    assert sizes[-1][2] == len(set.union(*(SLIDE.whole(*at) for at in lap)))


# What is stored


def test_islands_and_cells_that_turn_out_to_be_one_are_stored() -> None:
    connection = sqlite3.connect(":memory:")
    make(connection)
    connection.execute(
        "INSERT INTO runs (started, outcome, model, model_sha256, runtime, kernels, camera, "
        "cell_size, crop_margin, accept_at, program) "
        "VALUES (0, '', '', '', '', '', '', 0, 0, 0, '')"
    )
    connection.execute(
        "INSERT INTO frames (run_id, number, timestamp, source, width, height) "
        "VALUES (1, 0, 0, '', 1, 1)"
    )
    for number in (1, 2, 7):
        connection.execute(
            "INSERT INTO cells (frame_id, x, y, width, height, nucleus_area, label, probability, "
            "probabilities, verdict, island, slide_x, slide_y, unique_cell) "
            "VALUES (1, 0, 0, 9, 9, 1, 'a', 1, '[]', 'accepted', 3, 5, 6, ?)",
            (number,),
        )
    for placement, cells in (
        (Placement("counted", 3, 0, 0, (1, 2, 7), (5.0, 7.1, 7.2)), [1, 2, 3]),
        (Placement("counted", 2, 0, 0, (), joined=((3, 2, 10.0, 20.0),)), []),
        (Placement("counted", 1, 0, 0, (), (), ((7, 2),), ((2, 1, 100.0, 200.0),)), []),
    ):
        note_placement(connection, 1, placement, cells)
    note_doubtful(connection, 1, {2})
    unique = connection.execute("SELECT number, best, quality, doubtful FROM unique_cells")
    assert unique.fetchall() == [(1, 1, 5.0, 0), (2, 3, 7.2, 1)]
    rows = connection.execute("SELECT number, joined_to, x, y FROM islands ORDER BY 1").fetchall()
    assert rows == [(1, None, 0, 0), (2, 1, 100, 200), (3, 1, 110, 220)]
    cells = connection.execute(
        "SELECT unique_cell, doubtful, island, slide_x_px, slide_y_px FROM cell_list ORDER BY cell"
    ).fetchall()
    assert cells == [(1, "no", 1, 115, 226), (2, "yes", 1, 115, 226), (2, "yes", 1, 115, 226)]
    connection.close()


def test_cells_are_counted_once_where_frames_show_one_slide() -> None:
    stage, motor = StageCamera(FIELDS, fps=0), SimulatedCamera(FIELDS, fps=0)
    assert tracker_for(stage, None, "cells") is not None
    assert tracker_for(motor, None, "cells") is None
    assert tracker_for(motor, True, "cells") is not None
    assert tracker_for(stage, False, "cells") is None
    assert tracker_for(stage, None, "none") is None
    with pytest.raises(DataError, match="no cells are looked for"):
        tracker_for(stage, True, "none")


# The simulated stage


def test_the_hand_moved_stage_says_where_its_frames_lie() -> None:
    camera = open_camera(f"simulated:{FIELDS}?stage=hand&seed=4&fps=0")
    again = StageCamera(FIELDS, seed=4, fps=0)
    assert isinstance(camera, StageCamera)
    assert np.array_equal(camera.view(7)[0], again.view(7)[0])
    assert camera.corner(30) == again.corner(30)
    frame, still = camera.view(12)[0], camera.still(*camera.corner(12))
    found = link(Spectra(view_of(frame)), Spectra(view_of(still)))
    assert found is not None
    assert (found.x, found.y) == pytest.approx((0, 0), abs=0.5)
    corners = np.array([camera.corner(number) for number in range(400)])
    room = np.subtract(camera.slide_size, (640, 480))
    assert (corners >= 0).all()
    assert (corners <= room).all()
    assert np.ptp(corners, axis=0).min() > 300


def test_frames_of_the_hand_moved_stage_are_placed_where_they_lie() -> None:
    camera = StageCamera(FIELDS, seed=1, fps=0)
    tracker = SlideTracker()
    offsets = []
    for index in range(20):
        placement = tracker.add(camera.view(index)[0], [], [])
        assert placement.island == 1
        offsets.append(np.subtract(camera.corner(index), (placement.x, placement.y)))
    assert np.ptp(offsets, axis=0).max() < 4


def test_another_kind_of_stage_is_refused() -> None:
    with pytest.raises(CameraError, match="stage="):
        open_camera(f"simulated:{FIELDS}?stage=foot")
