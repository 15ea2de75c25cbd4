"""From collected to exported: what each state allows, and what it refuses by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from results_rows import frame, rows
from reviewed_run import OF_SAMPLE, found, sign_run, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.exchange.standing import standing_of
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.results import Results
from qlvit_edge.review.keeping import of_sample
from qlvit_edge.review.opening import mark_ended
from qlvit_edge.review.records import read_record
from qlvit_edge.review.selecting import selected_runs
from qlvit_edge.review.store import ReviewStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One run: cells 1 to 4, of which the third is unknown."""
    path = tmp_path / "r.sqlite"
    unknown = found("RED", "unknown cell", 30)
    write_run(path, [found("RED"), found("BLUE", x=30)], [unknown, found("RED", "uncertain")])
    return path


@pytest.fixture
def store(path: Path) -> Iterator[ReviewStore]:
    with ReviewStore(path) as store:
        yield store


def state(store: ReviewStore) -> str:
    return store.run(1).status.state


def test_a_run_goes_from_collected_to_exported(store: ReviewStore, path: Path) -> None:
    assert state(store) == "collected"
    assert store.run().status.statement() == "PRELIMINARY: collected, not signed"
    store.confirm(1, [1, 4], "Ann")
    store.change(1, [2], "RED", reason="granules", by="Ann")
    store.exclude(1, [3], reason="smudge", by="Ann")
    assert store.run(1).left_to_do() == []
    store.done(1, "Ann")
    assert state(store) == "reviewed"
    assert store.run().status.statement() == "PRELIMINARY: reviewed, not signed"
    signed = store.sign(1, "Ann")
    assert signed.counts == {"RED": 3, "(excluded)": 1}
    assert store.run().status.statement() == f"signed by Ann at {signed.at}"
    store.export(1, to="x.csv", by="Ann")
    assert state(store) == "exported"
    assert rows(path, "SELECT kind, by_name, cells FROM review_list") == [
        ("confirm", "Ann", 2),
        ("change", "Ann", 1),
        ("exclude", "Ann", 1),
        *((kind, "Ann", 0) for kind in ("done", "sign", "export")),
    ]
    assert rows(path, "SELECT run, by_name FROM signatures") == [(1, "Ann")]
    assert rows(path, "SELECT sample, operator, review FROM run_list") == [
        ("S-0815", "Olga", "exported")
    ]


def test_what_is_left_is_said_by_name(store: ReviewStore) -> None:
    with pytest.raises(DataError, match=r"1 unknown cell left \(3\), and 3 cells not looked at"):
        store.done(1, "Ann")
    store.confirm(1, [1, 2, 4], "Ann")
    with pytest.raises(DataError, match=r"run 1: 1 unknown cell left \(3\); decide"):
        store.done(1, "Ann")
    with pytest.raises(DataError, match="run 1 is not reviewed"):
        store.sign(1, "Ann")
    assert [record.kind for record in store.records(1)] == ["confirm"]


def test_two_readers_are_two_people(store: ReviewStore) -> None:
    store.confirm(1, [1, 2, 3, 4], "Ann")
    store.done(1, "Ann")
    store.sign(1, "Ann", readers=2)
    assert state(store) == "reviewed"
    with pytest.raises(DataError, match="not signed"):
        store.export(1, to="x.csv", by="Ann")
    with pytest.raises(DataError, match="another reader must sign"):
        store.sign(1, " ann ")
    store.sign(1, "Bob")
    assert store.run(1).status.signed_by == ("Ann", "Bob")
    assert state(store) == "signed"


def test_a_change_drops_the_first_of_two_signatures(store: ReviewStore) -> None:
    store.confirm(1, [1, 2, 3, 4], "Ann")
    store.done(1, "Ann")
    store.sign(1, "Ann", readers=2)
    store.change(1, [1], "BLUE", reason="pale", by="Bob")
    assert state(store) == "collected"
    assert store.run(1).status.signed_by == ()
    with pytest.raises(DataError, match="not reviewed"):
        store.sign(1, "Bob")


def test_a_signed_run_is_changed_only_after_it_was_reopened(store: ReviewStore, path: Path) -> None:
    sign_run(path)
    for step in (
        lambda: store.confirm(1, [1], "Bob"),
        lambda: store.undo(1, "Bob"),
        lambda: store.done(1, "Bob"),
    ):
        with pytest.raises(DataError, match="run 1 is signed by Ann; reopen it"):
            step()
    with pytest.raises(DataError, match="--reason: is empty"):
        store.reopen(1, reason=" ", by="Bob")
    store.reopen(1, reason="wrong slide", by="Bob")
    assert state(store) == "collected"
    store.change(1, [1], "BLUE", reason="pale", by="Bob")
    store.done(1, "Bob")
    assert store.sign(1, "Bob").counts == {"BLUE": 2, "RED": 2}


def test_undo_takes_back_the_last_decision_or_a_named_one(store: ReviewStore) -> None:
    store.confirm(1, [1, 2], "Ann")
    store.change(1, [2], "RED", reason="granules", by="Ann")
    assert [cell.final for cell in store.run(1).cells] == ["RED", "RED", None, None]
    store.undo(1, "Bob")
    assert [cell.final for cell in store.run(1).cells] == ["RED", "BLUE", None, None]
    with pytest.raises(DataError, match="record 2 is no decision, or was undone before"):
        store.undo(1, "Bob", 2)
    store.undo(1, "Bob", 1)
    assert [cell.final for cell in store.run(1).cells] == [None] * 4
    with pytest.raises(DataError, match="no decision to undo"):
        store.undo(1, "Bob")
    assert [record.kind for record in store.records(1)] == ["confirm", "change", "undo", "undo"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda s: s.confirm(1, [], "Ann"), "no cell is named"),
        (lambda s: s.confirm(1, [1, 9], "Ann"), "run 1 has no cell 9"),
        (lambda s: s.confirm(2, [1], "Ann"), "it has no run 2"),
        (lambda s: s.confirm(1, [1], " "), "--by: is empty"),
        (lambda s: s.confirm(1, [1], "A\x1b[2J"), "--by: 'A\\x1b[2J' cannot be printed"),
        (lambda s: s.confirm(1, [1], "A" * 201), "has 201 letters"),
        (lambda s: s.change(1, [1], "REDD", reason="r", by="A"), "did you mean 'RED'?"),
        (lambda s: s.change(1, [1], "RED", reason="", by="A"), "--reason: is empty"),
        (lambda s: s.exclude(1, [1], reason="", by="A"), "--reason: is empty"),
        (lambda s: s.reopen(1, reason="r", by="A"), "run 1 is not signed"),
        (lambda s: s.export(1, to="x", by="A"), "run 1 is not signed; sign it first"),
    ],
)
def test_steps_that_make_no_sense_leave_no_record(
    store: ReviewStore, step: Callable[[ReviewStore], object], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        step(store)
    assert said in str(caught.value)
    assert store.records(1) == []


def test_a_class_that_the_model_does_not_have_is_asked_for(store: ReviewStore) -> None:
    record = store.change(1, [1], "blast", reason="nucleoli", by="Ann", new=True)
    assert record.label == "blast"
    # From then on it is one of the run's; case does not matter.
    assert store.change(1, [2], "Blast", reason="nucleoli", by="Ann").label == "blast"
    assert store.run(1).labels == ("RED", "BLUE", "blast")
    assert {one.label: one.count for one in store.run(1).differential().classes}["blast"] == 2


def test_findings_of_a_cell_that_is_counted_once_are_one_cell(path: Path) -> None:
    with ReviewStore(path) as store:
        connection = store._connection
        assert connection is not None
        connection.execute("UPDATE cells SET unique_cell = 7, cut = (id = 1) WHERE id IN (1, 4)")
        cells = store.run(1).cells
        assert [(cell.id, cell.findings) for cell in cells] == [(2, (2,)), (3, (3,)), (4, (1, 4))]
        store.confirm(1, [1], "Ann")
        assert [cell.final for cell in store.run(1).cells] == [None, None, "RED"]


def test_a_run_that_goes_on_is_reviewed_but_not_signed(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, OF_SAMPLE) as results:
        results.add_frame(frame(), [found()])
        with ReviewStore(path) as store:
            store.confirm(1, [1], "Ann")
            with pytest.raises(DataError, match="it goes on, or was killed; wait until"):
                store.done(1, "Ann")
        with pytest.raises(DataError, match="another run is writing to it"):
            mark_ended(path)
    with ReviewStore(path) as store:
        store.done(1, "Ann")


def test_a_killed_run_can_be_marked_as_ended(path: Path) -> None:
    with ReviewStore(path) as store:
        assert store._connection is not None
        store._connection.execute("UPDATE runs SET outcome = 'running', ended = NULL")
    mark_ended(path)
    sign_run(path)
    assert rows(path, "SELECT outcome FROM runs") == [("did not end",)]


def test_a_text_that_is_no_record_is_refused() -> None:
    for text in ("", "[]", "{}", "{" * 5000, '{"run": NaN}'):
        with pytest.raises(ValueError, match=r"is|lacks|has"):
            read_record(text)


def test_a_class_that_people_add_does_not_change_what_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    chances = {"rbc": 0.2, "platelet": 0.2, "wbc": 0.6}
    cells = [
        ClassifiedCell(one.cell, Classification(label, 0.6, chances, "accepted"))
        for one, label in ((found(), "rbc"), (found(x=30), "platelet"), (found(), "wbc"))
    ]
    write_run(path, cells[:2], cells[2:])
    with ReviewStore(path) as store:
        store.confirm(1, [1, 2], "Ann")
        store.change(1, [3], "blast", reason="nucleoli", by="Ann", new=True)
        run = store.run(1)
    for found_now in (run.differential(), standing_of(run).differential):
        counts = {one.label: one.count for one in found_now.classes}
        assert counts == {"rbc": 1, "platelet": 1, "wbc": 0, "blast": 1}
        assert found_now.apart == {}


@pytest.mark.parametrize("name", ["total", "Excluded", "(excluded)", "not counted: x"])
def test_a_new_class_is_not_called_as_sums_are(store: ReviewStore, name: str) -> None:
    with pytest.raises(DataError, match="is what a sum is called"):
        store.change(1, [1], name, reason="nucleoli", by="Ann", new=True)
    assert store.records(1) == []


def test_one_name_in_two_spellings_is_one(tmp_path: Path) -> None:
    path, apart = tmp_path / "r.sqlite", "Bjo\u0308rn"
    write_run(path, [found()], info=replace(OF_SAMPLE, sample=apart))
    with ReviewStore(path) as store:
        store.confirm(1, [1], "Ann")
        store.done(1, "Ann")
        store.sign(1, apart, readers=2)
        with pytest.raises(DataError, match="another reader must sign"):
            store.sign(1, "Bj\u00f6rn", readers=2)
    assert selected_runs(path, (), "Bj\u00f6rn") == [1]
    assert [one.run.run for one in of_sample(path, "Bj\u00f6rn")] == [1]
