"""Our figures equal scikit-learn's, ties and empty classes included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from qlvit_edge.evaluation import metrics

CLASSES = 4


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 60))
    levels = draw(st.sampled_from([2, 5, 256]))  # few levels: many ties
    generator = np.random.default_rng(seed)
    truth = generator.integers(CLASSES, size=count)
    return (
        truth,
        generator.integers(CLASSES, size=count),
        generator.integers(levels, size=(count, CLASSES)),
    )


@settings(max_examples=80, deadline=None)
@given(labelled())
def test_figures_equal_sklearn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, predicted, scores = case
    labels = list(range(CLASSES))
    matrix = metrics.confusion_matrix(truth, predicted, CLASSES)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, predicted, labels=labels))
    assert metrics.accuracy(matrix) == pytest.approx(sk.accuracy_score(truth, predicted))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    ours = metrics.per_class(matrix)
    np.testing.assert_allclose([s.precision for s in ours], precision)
    np.testing.assert_allclose([s.recall for s in ours], recall)
    np.testing.assert_allclose([s.f1 for s in ours], f1)
    mean = metrics.macro(ours)
    expected = sk.precision_recall_fscore_support(
        truth, predicted, labels=labels, average="macro", zero_division=0
    )
    np.testing.assert_allclose([mean.precision, mean.recall, mean.f1], expected[:3])
    for index, area in enumerate(metrics.one_vs_rest_auc(truth, scores)):
        own = truth == index
        if own.all() or not own.any():
            assert math.isnan(area)
            continue
        assert area == pytest.approx(sk.roc_auc_score(own, scores[:, index]))
        false, true = metrics.roc_curve(own, scores[:, index])
        expected_false, expected_true, _ = sk.roc_curve(
            own, scores[:, index], drop_intermediate=False
        )
        np.testing.assert_allclose(false, expected_false)
        np.testing.assert_allclose(true, expected_true)


@settings(max_examples=40, deadline=None)
@given(labelled())
def test_area_of_a_draw_is_that_of_the_images_as_often_as_they_are_drawn(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, _, scores = case
    weights = np.random.default_rng(len(truth)).integers(0, 4, (5, len(truth)))
    for label in range(CLASSES):
        areas = metrics.weighted_aucs(truth == label, scores[:, label], weights)
        for row, area in zip(weights, areas, strict=True):
            own, values = np.repeat(truth == label, row), np.repeat(scores[:, label], row)
            if own.all() or not own.any():
                assert math.isnan(area)
            else:
                assert area == pytest.approx(sk.roc_auc_score(own, values))


def test_labels_out_of_range_or_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        metrics.confusion_matrix([0, 4], [0, 0], 4)
    with pytest.raises(ValueError, match="outside"):
        metrics.confusion_matrix([0, -1], [0, 0], 4)
    with pytest.raises(ValueError, match="compared"):
        metrics.confusion_matrix([0, 1], [0], 4)


def test_no_answers_give_zeros() -> None:
    empty = metrics.confusion_matrix([], [], 2)
    assert metrics.accuracy(empty) == 0
    assert metrics.macro([]) == metrics.Scores(0, 0, 0)


def test_bootstrap_draws_groups_not_images() -> None:
    right = np.array([1.0] * 50 + [0.0] * 50)

    def figure(indices: np.ndarray) -> float:
        return float(right[indices].mean())

    by_image = metrics.bootstrap_interval(range(100), figure)
    by_source = metrics.bootstrap_interval(["a"] * 50 + ["b"] * 50, figure)
    assert by_source == (0.0, 1.0)
    assert 0.38 < by_image[0] < 0.45
    assert 0.55 < by_image[1] < 0.62
    assert metrics.bootstrap_interval(range(100), figure) == by_image
    with pytest.raises(ValueError, match="nothing"):
        metrics.bootstrap_interval([], figure)


def test_draws_hold_as_many_sources_of_each_microscope_as_there_are() -> None:
    groups = ["b", "a", "b", "c", "c", "c"]
    domains = ["x", "x", "x", "y", "y", "y"]
    (weights,) = metrics.bootstrap_weights(groups, domains=domains, rounds=40)
    assert weights.shape == (40, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1]].sum(1) == 2).all()
    assert (weights[:, 3:] == 1).all()
    assert len(np.unique(weights[:, 0])) == 3


def test_percentiles_are_numpys() -> None:
    assert metrics.percentiles([4, 1, 3, 2, 5]) == {"p50": 3.0, "p90": 4.6, "p99": 4.96}
    with pytest.raises(ValueError, match="nothing"):
        metrics.percentiles([])


def test_risk_is_that_of_the_most_confident_answers() -> None:
    right = [True, False, True, False, True]
    coverage, risk = metrics.risk_coverage(right, [0.9, 0.5, 0.8, 0.8, 0.1])
    assert coverage.tolist() == pytest.approx([0.2, 0.6, 0.8, 1.0])  # two are equally sure
    assert risk.tolist() == pytest.approx([0, 1 / 3, 1 / 2, 2 / 5])
    assert metrics.risk_area(coverage, risk) == pytest.approx(0.4 / 3 + 0.2 / 2 + 0.2 * 0.4)
    assert metrics.risk_at(coverage, risk, 0.6) == pytest.approx(1 / 3)
    assert metrics.risk_at(coverage, risk, 0.61) == pytest.approx(1 / 2)
    assert metrics.risk_at(coverage, risk, 1.0) == pytest.approx(2 / 5)
