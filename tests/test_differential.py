"""The differential: what is counted, how far it can be trusted, what corrects it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.choices import VERDICTS
from qlvit_edge.differential.analyser import analyser_of
from qlvit_edge.differential.correction import (
    LEAST_CELLS,
    NotCorrectableError,
    correct,
    fitted,
)
from qlvit_edge.differential.differential import Mistakes, differential_of
from qlvit_edge.differential.tally import BESIDE, CUT, Tally
from qlvit_edge.differential.white_cells import counted_classes
from qlvit_edge.errors import DataError
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.statistics import clopper_pearson

ROOT = Path(__file__).parents[1]
LABELS = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")


def confusion_of(answers: np.ndarray, cells: int = 1000, accept_at: float = 0.8) -> Confusion:
    """Held-out cells by class in the very shares (classes, classes + 1), one per source."""
    labels: list[int] = []
    given_answers: list[int] = []
    for label, row in enumerate(answers):
        for answer, share in enumerate(row):
            count = round(cells * share)
            labels += [label] * count
            given_answers += [answer] * count
    return Confusion.of(labels, given_answers, None, data="virtual cells", accept_at=accept_at)


def with_recall(recall: float, classes: int) -> np.ndarray:
    """Mistakes spread evenly over the other classes; everything accepted."""
    answers = np.full((classes, classes + 1), (1 - recall) / (classes - 1))
    np.fill_diagonal(answers, recall)
    answers[:, -1] = 0
    return answers


def tally_of(*counts: int, labels: tuple[str, ...] = LABELS) -> Tally:
    tally = Tally(labels)
    for label, count in zip(labels, counts, strict=True):
        tally.add(label, "accepted", cells=count)
    return tally


PERFECT = confusion_of(with_recall(1.0, 4))


def test_with_recall_of_91_percent_a_true_3_reads_5_5_and_is_corrected_to_3() -> None:
    truth = np.array([0.60, 0.30, 0.07, 0.03])
    answers = with_recall(0.914, 4)
    counts = np.rint(1000 * (truth @ answers)[:4]).astype(int).tolist()
    found = differential_of(tally_of(*counts), Mistakes(confusion_of(answers)))
    rare = found.classes[3]
    assert rare.share == pytest.approx(0.055, abs=0.0005)
    assert rare.limits == pytest.approx((0.0417, 0.0710), abs=0.0005)
    assert rare.limits[0] > 0.03
    assert rare.corrected == pytest.approx(0.03, abs=0.001)
    assert rare.corrected_limits is not None
    assert rare.corrected_limits[0] < 0.03 < rare.corrected_limits[1] < 0.06


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 10**12), min_size=4, max_size=4),
    st.dictionaries(st.sampled_from(VERDICTS), st.integers(0, 10**6)),
    st.integers(0, 10**6),
)
def test_shares_add_up_whatever_stands_beside(
    counts: list[int], verdicts: dict[str, int], cut: int
) -> None:
    tally = tally_of(*counts)
    for verdict, cells in verdicts.items():
        if verdict != "accepted":
            tally.add("monocyte", verdict, cells=cells)
    tally.add("monocyte", "accepted", cut=True, cells=cut)
    found = differential_of(tally, Mistakes(PERFECT), replicates=20)
    assert found.cells == sum(counts) == sum(one.count for one in found.classes)
    assert list(found.beside) == list(BESIDE)
    assert found.beside[CUT] == cut
    assert sum(found.beside.values()) == cut + sum(
        cells for verdict, cells in verdicts.items() if verdict != "accepted"
    )
    if not found.cells:
        assert all(one.share is None and one.limits == (0, 1) for one in found.classes)
        assert found.not_corrected == "no cells are counted yet"
        return
    assert sum(one.share or 0 for one in found.classes) == pytest.approx(1)
    for one in found.classes:
        assert one.share is not None
        assert one.limits[0] <= one.share <= one.limits[1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=4, max_size=4).filter(any))
def test_the_count_of_a_perfect_model_stays_as_it_is(counts: list[int]) -> None:
    found = correct(counts, PERFECT, replicates=20)
    assert found.shares == pytest.approx(np.array(counts) / sum(counts), abs=1e-12)
    assert found.shares.sum() == pytest.approx(1)
    assert (found.low <= found.shares).all()
    assert (found.shares <= found.high).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=3, max_size=3).filter(any), st.floats(0.5, 1))
def test_corrected_shares_lie_on_the_simplex(counts: list[int], recall: float) -> None:
    found = correct(counts, confusion_of(with_recall(recall, 3)), replicates=30)
    assert found.shares.sum() == pytest.approx(1)
    for part in (found.shares, found.low, found.high):
        assert (part >= 0).all()
        assert (part <= 1 + 1e-9).all()


def test_the_inverse_is_taken_inside_and_the_likeliest_shares_outside() -> None:
    rows = with_recall(0.8, 3)[:, :3]
    truth = np.array([0.2, 0.5, 0.3])
    assert fitted((truth @ rows)[None], rows[None])[0] == pytest.approx(truth, abs=1e-12)
    # Fewer answers of the third class than mistakes alone would give: none of it is there.
    answers = np.array([0.55, 0.43, 0.02])
    found = fitted(answers[None], rows[None])[0]
    assert found.sum() == pytest.approx(1)
    assert found[2] < 1e-3

    def likelihood(shares: np.ndarray) -> float:
        return float(answers @ np.log(shares @ rows))

    grid = [np.array([a, b, 1 - a - b]) for a in np.arange(0, 1, 0.01) for b in (0.3, 0.41, 0.5)]
    best = max(likelihood(shares) for shares in grid if shares.min() >= 0)
    assert likelihood(found) >= best - 1e-6


def test_mistakes_that_cannot_be_inverted_are_no_error() -> None:
    answers = np.array([[0.7, 0.3]])
    same = np.full((1, 2, 2), 0.5)
    assert fitted(answers, same)[0].sum() == pytest.approx(1)


def test_a_class_that_is_accepted_less_often_is_counted_up() -> None:
    answers = with_recall(1.0, 2)
    answers[0] = (0.5, 0, 0.5)
    found = correct([100, 200], confusion_of(answers), replicates=50)
    assert found.shares == pytest.approx([0.5, 0.5])


def test_what_is_mistaken_for_white_cells_is_taken_out_of_their_shares() -> None:
    """A tenth of the erythroblasts is called lymphocyte: the differential is of white cells."""
    labels = ("erythroblast", "lymphocyte", "neutrophil")
    answers = with_recall(1.0, 3)
    answers[0, :2] = 0.9, 0.1
    tally = tally_of(90, 10 + 30, 60, labels=labels)
    found = differential_of(tally, Mistakes(confusion_of(answers)))
    assert [one.label for one in found.classes] == ["lymphocyte", "neutrophil"]
    assert found.cells == 100
    assert found.apart == {"erythroblast": 90}
    assert [one.share for one in found.classes] == [0.4, 0.6]
    assert [one.corrected for one in found.classes] == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize("name", ["Platelets", "ERYTHROBLAST", "red blood cells", "nRBC", "smudge"])
def test_what_is_no_white_cell_is_not_counted(name: str) -> None:
    assert counted_classes((name, "basophil", "monocyte")) == ("basophil", "monocyte")


def test_a_model_of_other_cells_counts_all_its_classes() -> None:
    for labels in (("platelet", "red cell"), ("Golgi", "NuMem"), ("platelet", "white cell")):
        assert counted_classes(labels) == labels


def test_unknown_classes_and_verdicts_are_refused() -> None:
    tally = Tally(LABELS)
    with pytest.raises(ValueError, match="no class 'basophil'"):
        tally.add("basophil", "accepted")
    with pytest.raises(ValueError, match="no verdict 'fine'"):
        tally.add("monocyte", "fine")
    assert tally.total == 0


def test_one_source_repeated_tells_less_than_many() -> None:
    labels, answers = [0] * 300 + [1] * 300, ([0] * 270 + [1] * 30) + ([1] * 270 + [0] * 30)
    alone = Confusion.of(labels, answers, None, data="", accept_at=0.8)
    # Ten sources, each right on all of its cells or wrong on all of them.
    grouped = Confusion.of(
        labels, answers, [str(n // 30) for n in range(600)], data="", accept_at=0.8
    )
    assert (alone.sources, grouped.sources) == (600, 20)
    single, several = (correct([500, 500], known) for known in (alone, grouped))
    assert single.shares == pytest.approx(several.shares)
    assert (several.high - several.low)[0] > 2 * (single.high - single.low)[0]


def test_the_same_count_has_the_same_interval() -> None:
    confusion = confusion_of(with_recall(0.9, 4))
    first, again = (correct([50, 30, 15, 5], confusion) for _ in range(2))
    assert (first.low == again.low).all()
    assert (first.high == again.high).all()


def test_a_larger_count_has_a_narrower_interval_down_to_what_the_mistakes_allow() -> None:
    confusion = confusion_of(with_recall(0.9, 4), cells=200)
    widths = [
        float((found.high - found.low)[0])
        for found in (correct([50 * n, 30 * n, 15 * n, 5 * n], confusion) for n in (1, 10, 10**6))
    ]
    assert widths[0] > 2 * widths[1] > widths[2] > 0.01


@pytest.mark.parametrize(
    ("answers", "cells", "finding"),
    [
        (
            with_recall(0.9, 3),
            LEAST_CELLS // 2,
            "class b: the model's mistakes are known from",
        ),
        (np.array([[0.6, 0.4, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0, 0, 1, 0]]), 100, "confuses"),
        (
            np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.05, 0.95]]),
            100,
            "class d: the model",
        ),
    ],
)
def test_mistakes_that_bear_no_correction_are_said(
    answers: np.ndarray, cells: int, finding: str
) -> None:
    found = differential_of(
        tally_of(5, 6, 7, labels=("b", "c", "d")), Mistakes(confusion_of(answers, cells))
    )
    assert found.not_corrected is not None
    assert finding in found.not_corrected
    assert all(one.corrected is None for one in found.classes)


def test_mistakes_of_few_sources_bear_no_correction() -> None:
    confusion = Confusion.of(
        [0, 1] * 100, [0, 1] * 100, ["one", "two"] * 100, data="", accept_at=0.8
    )
    with pytest.raises(NotCorrectableError, match="of 1 source"):
        correct([1, 1], confusion)


def test_mistakes_hold_only_for_the_run_that_they_are_of() -> None:
    known = confusion_of(with_recall(0.9, 4), accept_at=0.7)
    assert Mistakes.of(known, 0.7).confusion is known
    assert Mistakes.of(known, 0.7, familiar=True).confusion is known
    for accept_at, familiar, finding in (
        (0.9, True, "accepted from 90.0%, the model's mistakes are known from 70.0% on"),
        (0.7, False, "unlike those"),
    ):
        found = Mistakes.of(known, accept_at, familiar=familiar)
        assert found.confusion is None
        assert finding in found.finding
    assert "does not hold the model's mistakes" in Mistakes.of(None, 0.7).finding


def test_the_interval_holds_the_truth_about_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small part of the benchmark: 100 samples of 4 to 6 classes."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import differential_coverage

    found = differential_coverage.coverage(60, 3, 150)["coverage"]
    assert isinstance(found, dict)
    assert 0.9 <= found["corrected"] <= 0.985
    assert found["count alone"] < 0.85


def test_an_analyser_is_compared_within_the_exact_limits_of_the_count() -> None:
    """Rümke's example: 9 of 100 cells allow 4 to 17 percent."""
    tally = tally_of(60, 25, 9, 6)
    for percent, inside in ((4, False), (5, True), (16, True), (17, False)):
        text = f"Neutrophils=60, LYMPHOCYTE={31 - percent} ,monocyte={percent}%,other=9"
        analyser = analyser_of(text.replace("other=9", "eosinophil=9"), LABELS)
        found = differential_of(tally, Mistakes(None, "-"), analyser).classes[2]
        assert found.analyser is not None
        assert found.analyser.inside == inside
    low, high = clopper_pearson(9, 100)
    assert (low, high) == pytest.approx((0.042, 0.164), abs=5e-4)


def test_what_an_analyser_does_not_give_is_not_compared_and_other_is_left_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sample = 1.toml"
    path.write_text('[differential]\nneutrophil = 70\n"lymphocytes" = 20\nother = 10.5\n')
    analyser = analyser_of(str(path), LABELS)
    assert analyser.shares == pytest.approx({"neutrophil": 7 / 9, "lymphocyte": 2 / 9})
    assert analyser.other == pytest.approx(10.5 / 100.5)
    found = differential_of(tally_of(7, 2, 1, 0), Mistakes(None, "-"), analyser)
    assert [one.analyser is None for one in found.classes] == [False, False, True, True]
    assert found.analyser == str(path)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("neutrofil=100", "no class 'neutrofil', did you mean 'neutrophil'?"),
        ("neutrophil=60,lymphocyte=28", "add up to 88, not to 100"),
        ("neutrophil=60,lymphocyte", "'lymphocyte' has no number"),
        ("neutrophil=sixty", "'sixty', not a number from 0 to 100"),
        ("neutrophil=nan,lymphocyte=100", "'nan', not a number"),
        ("neutrophil=-5,lymphocyte=105", "'-5', not a number"),
        ("neutrophil=50,Neutrophils=50", "given twice"),
        ("neutrophil=50,neutrophil=50", "given twice"),
        ("=100", "not a number"),
        (",", "no such file"),
        ("other=100", "no cell is of a class"),
        ("missing.toml", "no such file"),
        ("\x1b[31m=100", r"\x1b[31m"),
    ],
)
def test_a_mistyped_analyser_is_one_line(text: str, finding: str) -> None:
    with pytest.raises(DataError) as caught:
        analyser_of(text, LABELS)
    assert finding in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("neutrophil = 100", "'neutrophil' is nothing it may hold"),
        ("[diferential]\nneutrophil = 100", "did you mean 'differential'?"),
        ("differential = 3", "no table [differential]"),
        ("[differential]", "is empty"),
        ("[differential]\nneutrophil = true", "not a number"),
        ('[differential]\nneutrophil = "100"\nmonocyte = []', "not a number"),
        ("[differential]\nneutrophil = 1e400", "not a number"),
        ("[differential\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_of_an_analyser_is_one_line(
    tmp_path: Path, content: str, finding: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        analyser_of(str(path), LABELS)
    assert finding in str(caught.value)
    assert "\n" not in str(caught.value)
