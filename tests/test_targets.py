"""Mixed, smoothed and weighed labels against PyTorch's own losses and NumPy's own draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from qlvit_edge.data.chance import Drawn
from qlvit_edge.training.targets import Mixture, Objective, drawn_mixture, mixed


def drawn(count: int) -> Drawn:
    return Drawn(0, 0, np.arange(count)[::-1].copy(), np.arange(count))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_drawn_from_the_larger_half_of_beta(alpha: float) -> None:
    shares = np.sort(drawn_mixture(drawn(20000), alpha).shares.numpy())
    beta = np.random.default_rng(0).beta(alpha, alpha, 20000)
    expected = np.sort(np.maximum(beta, 1 - beta))
    assert np.abs(shares - expected).max() < 0.02
    assert shares.min() >= 0.5


def test_neighbours_are_mixed_and_an_odd_image_stays_as_it_is() -> None:
    mixture = drawn_mixture(drawn(5), 1.0)
    assert mixture.partners.tolist() == [1, 0, 3, 2, 4]
    images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 2)
    found = mixed(images, mixture)[:, 0, 0, 0]
    shares = mixture.shares
    assert found[0] == pytest.approx(float(1 - shares[0]))
    assert found[1] == pytest.approx(float(shares[1]))
    assert found[4] == 4
    again = drawn_mixture(Drawn(0, 0, np.array([3, 2]), np.array([1, 2])), 1.0)
    assert again.shares.tolist() == shares[1:3].tolist()


def test_smoothed_labels_give_the_loss_that_pytorch_gives() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    for smoothing in (0.0, 0.1):
        found = Objective(None, smoothing).loss(logits, labels)
        expected = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_mixed_labels_are_weighed_by_class_and_share() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3), torch.tensor([0, 1])
    weights = torch.tensor([1.0, 4.0, 0.5])
    mixture = Mixture(torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    objective = Objective(weights)
    logs = torch.log_softmax(logits, 1)
    # The first image is 0.75 of class 0 and 0.25 of class 1, which weighs 4.
    total = 0.75 * logs[0, 0] + 0.25 * 4 * logs[0, 1] + 4 * logs[1, 1]
    assert float(objective.loss(logits, labels, mixture)) == pytest.approx(
        float(-total / (0.75 + 1 + 4)), rel=1e-6
    )
    assert objective.mass(labels, 3, mixture) == pytest.approx(5.75)
    unmixed = Mixture(torch.tensor([0, 1]), torch.ones(2))
    assert float(objective.loss(logits, labels, unmixed)) == pytest.approx(
        float(objective.loss(logits, labels)), rel=1e-6
    )
    assert objective.mass(labels, 3) == pytest.approx(5.0)


def test_parts_of_even_size_are_mixed_as_the_whole_batch_is() -> None:
    whole = drawn_mixture(drawn(8), 0.5)
    for rank in range(2):
        part = drawn_mixture(drawn(8).part(rank, 2), 0.5)
        own = slice(4 * rank, 4 * rank + 4)
        assert torch.equal(part.shares, whole.shares[own])
        assert torch.equal(part.partners + own.start, whole.partners[own])
