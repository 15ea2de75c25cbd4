"""Each step of fitting a network to another microscope: what it changes, and what it wins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from two_microscopes import Pictures, trained_network, views

from qlvit_edge.adaptation.answers import answers
from qlvit_edge.adaptation.cells import AdaptationCell, Cells
from qlvit_edge.adaptation.choose import (
    Trial,
    chosen,
    folds_of,
    mean_recall,
    recall_of,
    standard_error,
)
from qlvit_edge.adaptation.head import refitted
from qlvit_edge.adaptation.optimise import Batch, Schedule, optimised
from qlvit_edge.adaptation.self_training import drawing_chances, smoothed
from qlvit_edge.adaptation.statistics import reestimated
from qlvit_edge.adaptation.without_labels import Step, best_of, steps_without_labels, vanished
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.loader import cached
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.varying import to_input


def silent() -> None:
    """No progress bar."""


def right(network: QLViT, shown: Pictures, labels: np.ndarray) -> float:
    return float((answers(network, shown).classes == labels).mean())


def norms(network: QLViT) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def as_cells(shown: Pictures, labels: np.ndarray) -> Cells:
    """Cells whose pictures are views (1, N, h, w, 3), seen whole and cropped alike."""
    made = []
    for number, (picture, label) in enumerate(zip(shown[0], labels, strict=True)):
        entry = LabelledImage(None, str(number), int(label))  # type: ignore[arg-type]
        photograph = cached(picture, (64, 64), entry)
        made.append(AdaptationCell(str(number), picture, photograph, np.stack([picture] * 2), b""))
    return Cells(made)


@pytest.fixture(scope="module")
def network() -> QLViT:
    return trained_network()


@pytest.fixture(scope="module")
def there() -> tuple[Pictures, np.ndarray]:
    """Cells of the second microscope, and their labels."""
    return views(20, start=500, other=True)


def test_the_network_knows_its_own_microscope_and_not_the_other(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    assert right(network, *views(20, start=500)) > 0.95
    assert right(network, *there) < 0.6


def test_statistics_alone_recover_much_of_it(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    fitted = reestimated(network, views(15, other=True)[0][0])
    assert right(fitted, *there) > right(network, *there) + 0.2


def test_statistics_of_one_batch_are_those_that_training_computes(network: QLViT) -> None:
    shown = views(4, other=True)[0][0]
    expected = trained_network()
    for layer in norms(expected):
        layer.reset_running_stats()
        layer.momentum = None
    expected.train()
    with torch.no_grad():
        expected(to_input(shown, torch.device("cpu")))
    for own, known in zip(norms(reestimated(network, shown)), norms(expected), strict=True):
        torch.testing.assert_close(own.running_mean, known.running_mean, rtol=1e-2, atol=2e-3)
        # PyTorch keeps the unbiased variance, of 16 images and more.
        torch.testing.assert_close(own.running_var, known.running_var, rtol=0.1, atol=1e-4)


def test_a_share_mixes_old_and_new_statistics(network: QLViT) -> None:
    shown = views(4, other=True)[0][0]
    first = [norms(one)[0].running_mean for one in (network, reestimated(network, shown))]
    half = norms(reestimated(network, shown, share=0.5))[0].running_mean
    torch.testing.assert_close(half, (first[0] + first[1]) / 2)
    kept = norms(reestimated(network, shown, share=0.0))
    for own, known in zip(kept, norms(network), strict=True):
        torch.testing.assert_close(own.running_mean, known.running_mean)


def test_a_cell_of_weight_two_counts_like_two_cells(network: QLViT) -> None:
    shown = views(3, other=True)[0][0]
    twice = reestimated(network, np.concatenate([shown, shown[:4]]))
    weights = np.ones(len(shown))
    weights[:4] = 2
    weighed = reestimated(network, shown, weights=weights)
    for own, known in zip(norms(weighed), norms(twice), strict=True):
        torch.testing.assert_close(own.running_mean, known.running_mean, rtol=1e-2, atol=2e-3)
        torch.testing.assert_close(own.running_var, known.running_var, rtol=1e-2, atol=2e-3)


def test_refitting_leaves_the_network_it_is_given_alone(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fitted = reestimated(network, there[0][0])
    features = answers(fitted, there[0]).features.transpose(1, 0, 2)
    refitted(fitted, features, there[1], 1e-3)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_head_is_fitted_to_labels_and_held_where_they_say_nothing(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    shown, labels = there
    features = answers(network, shown).features.transpose(1, 0, 2)
    loose, tight = (refitted(network, features, labels, strength) for strength in (1e-4, 1e4))
    assert right(loose, shown, labels) > right(network, shown, labels) + 0.2
    torch.testing.assert_close(
        tight.head.linear.weight, network.head.linear.weight, rtol=1e-2, atol=1e-3
    )


def test_a_held_head_stays_while_the_rest_is_trained(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    shown, labels = there
    wanted = torch.nn.functional.one_hot(torch.from_numpy(labels)).float()

    def batch(step: int) -> Batch:
        return shown[0], wanted

    trained = optimised(network, batch, Schedule(2, 1e-2), silent)
    assert not torch.equal(trained.head.linear.weight, network.head.linear.weight)
    held = optimised(network, batch, Schedule(2, 1e-2, train_head=False), silent)
    assert torch.equal(held.head.linear.weight, network.head.linear.weight)
    assert not torch.equal(held.stem.convolution.weight, network.stem.convolution.weight)


def test_neighbours_outvote_a_cell_that_is_unsure() -> None:
    features = np.array([[1, 0], [1, 0.1], [1, -0.1], [-1, 0], [-1, 0.1]], np.float32)
    sure, unsure = [0.9, 0.1], [0.45, 0.55]
    probabilities = np.array([unsure, sure, sure, [0.1, 0.9], [0.1, 0.9]])
    found = smoothed(probabilities, features, 2)
    assert found[0, 0] > 0.6
    assert found[3, 0] < 0.5
    np.testing.assert_allclose(found.sum(1), 1)


def test_rare_classes_are_drawn_oftener_than_they_are_met() -> None:
    wanted = np.eye(2)[[0] * 90 + [1] * 10]
    rare = float(drawing_chances(wanted)[90:].sum())
    assert 0.2 < rare < 0.3
    assert float(drawing_chances(wanted, 1.0)[90:].sum()) == pytest.approx(0.5)


def test_fitting_without_labels_recovers_the_other_microscope(
    network: QLViT, there: tuple[Pictures, np.ndarray]
) -> None:
    cells = as_cells(*views(12, other=True))
    steps = steps_without_labels(network, cells, 0, silent)
    assert [step.method for step in steps] == ["nothing", *["statistics"] * 3]
    best = best_of(steps)
    assert best.method == "statistics"
    assert right(best.network, *there) > right(network, *there) + 0.2


def step(information: float, shares: list[float]) -> Step:
    return Step("statistics", 1.0, trained_network(), information, np.array(shares))


def test_a_step_that_lets_a_class_vanish_is_undone() -> None:
    before, after = step(0.5, [0.5, 0.4, 0.1]), step(0.9, [0.6, 0.4, 0.0])
    assert vanished(before, after) == [2]
    assert best_of([before, after]) is before
    assert best_of([before, step(0.9, [0.6, 0.35, 0.05])]) is not before
    assert best_of([before, step(0.4, [0.5, 0.4, 0.1])]) is before


LABELS = np.repeat(np.arange(4), 10)
OWN = [str(number) for number in range(40)]
"""Each cell of a source of its own."""


def trial(name: str, wrong: int) -> Trial:
    """A trial with so many wrong answers in every class."""
    found = np.ones(40)
    for label in range(4):
        found[10 * label : 10 * label + wrong] = 0
    return Trial(name, found)


def test_of_equals_the_simplest_is_chosen() -> None:
    trials = [trial("nothing", 4), trial("head", 1), trial("all", 1)]
    assert chosen(trials, LABELS).name == "head"


def test_a_clear_gain_is_worth_a_complicated_way() -> None:
    trials = [trial("nothing", 6), trial("head", 4), trial("all", 0)]
    assert chosen(trials, LABELS).name == "all"


def test_what_is_worse_is_never_chosen() -> None:
    worse = Trial("head", np.where(np.arange(40) == 39, 0.0, trial("", 1).right))
    assert chosen([trial("nothing", 1), worse], LABELS).name == "nothing"
    # Within one standard error of the best, and yet worse than what there was.
    rng = np.random.default_rng(0)
    for _ in range(200):
        trials = [Trial(str(n), (rng.random(40) < 0.7).astype(float)) for n in range(4)]
        picked = chosen(trials, LABELS)
        assert mean_recall(picked.right, LABELS) >= mean_recall(trials[0].right, LABELS)


def test_folds_have_every_class_alike() -> None:
    folds = folds_of(LABELS, OWN, 3)
    for fold in range(3):
        counts = np.bincount(LABELS[folds == fold], minlength=4)
        assert counts.min() >= 3
        assert counts.max() <= 4
    assert not np.array_equal(folds, folds_of(LABELS, OWN, 4))


def test_copies_of_one_cell_are_in_one_fold() -> None:
    groups = np.tile(["a", "b", "c", "d", "e"], 8)
    folds = folds_of(np.zeros(40, int), groups, 0)
    assert all(len(set(folds[groups == name])) == 1 for name in "abcde")
    assert len(set(folds)) == 3


def test_recall_is_a_mean_over_classes_with_an_interval() -> None:
    labels = np.array([0] * 30 + [1] * 10)
    found = recall_of(Trial("", (labels == 0).astype(float)), labels, OWN)
    assert found.value == 0.5
    assert found.by_class == {0: 1.0, 1: 0.0}
    half = Trial("", np.tile([1.0, 0.0], 20))
    alone = recall_of(half, labels, OWN)
    assert alone.low < 0.5 < alone.high
    # Four cells of one source each stand or fall together.
    four = recall_of(
        Trial("", np.repeat([1.0, 0.0], 20)), np.zeros(40, int), np.repeat(OWN[:10], 4)
    )
    assert four.high - four.low > 1.5 * (alone.high - alone.low)


def test_the_standard_error_is_that_of_drawing_cells_again() -> None:
    rng = np.random.default_rng(1)
    difference = rng.choice([-1.0, 0.0, 1.0], 40)
    drawn = []
    for _ in range(4000):
        means = [rng.choice(difference[label == LABELS], 10).mean() for label in range(4)]
        drawn.append(np.mean(means))
    assert standard_error(difference, LABELS) == pytest.approx(np.std(drawn), rel=0.12)
