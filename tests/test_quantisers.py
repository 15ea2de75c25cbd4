"""Training-time quantisation agrees with the integer specification."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qlvit_edge.integer.log2_softmax import training_codes
from qlvit_edge.integer.uniform import quantise_weights, uniform_parameters
from qlvit_edge.model.quantisers import (
    UniformQuantiser,
    log2_softmax,
    quantised_weight,
    round_ties_away,
)

finite = st.floats(-1e3, 1e3, width=32)


def test_rounding_takes_ties_away_from_zero() -> None:
    x = torch.tensor([-2.5, -0.5, 0.5, 1.5, 2.5, 0.4999])
    assert round_ties_away(x).tolist() == [-3.0, -1.0, 1.0, 2.0, 3.0, 0.0]


@given(arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32)))
def test_log2_softmax_has_the_codes_of_the_specification(x: np.ndarray) -> None:
    values = log2_softmax(torch.from_numpy(x).double(), 0).numpy()
    codes = training_codes(x.astype(np.float64), 0)
    # On a rounding threshold (√2) the last bit of a float may decide: those are left out.
    log2 = (x - np.logaddexp.reduce(x.astype(np.float64))) / math.log(2)
    clear = np.abs(log2 - np.floor(log2) - 0.5) > 1e-6
    assert np.array_equal(values[clear], 2.0 ** (codes[clear] - 15))


@given(arrays(np.float32, st.integers(1, 50), elements=finite))
def test_uniform_quantiser_rounds_to_the_grid_of_equations_14_to_18(x: np.ndarray) -> None:
    quantiser = UniformQuantiser(8).train()
    rounded = quantiser(torch.from_numpy(x)).double().numpy()
    parameters = uniform_parameters(float(x.min()), float(x.max()))
    codes = rounded / parameters.scale + parameters.zero_point
    assert np.allclose(codes, np.rint(codes), atol=1e-2)
    assert codes.min() > -0.01
    assert codes.max() < 255.01
    assert np.abs(rounded - x).max() <= parameters.scale * 0.51 + 1e-6


@pytest.mark.parametrize("step", [2.0**-6, 0.0123, 1 / 3, 5.3])
def test_values_at_and_beside_a_tie_are_rounded_as_exact_arithmetic_says(step: float) -> None:
    quantiser = UniformQuantiser(8).eval()
    quantiser.low.fill_(-64 * step)
    quantiser.high.fill_(191 * step)
    scale = float(((quantiser.high.double() - quantiser.low.double()) / 255).float())
    ties = ((np.arange(-70, 200) + 0.5) * scale).astype(np.float32)
    beside = [np.nextafter(ties, np.float32(end)) for end in (-np.inf, np.inf)]
    values = np.concatenate([ties, *beside])
    rounded = quantiser(torch.from_numpy(values)).numpy()
    for value, found in zip(values.tolist(), rounded.tolist(), strict=True):
        ratio = Fraction(value) / Fraction(scale)
        away = math.floor(abs(ratio) + Fraction(1, 2)) * (1 if ratio > 0 else -1)
        expected = min(max(away, -64), 191)
        assert round(found / scale) == expected, value


def test_uniform_quantiser_keeps_its_range_through_a_checkpoint() -> None:
    quantiser = UniformQuantiser(8).train()
    quantiser(torch.tensor([-1.0, 4.0]))
    loaded = UniformQuantiser(8).eval()
    loaded.load_state_dict(quantiser.state_dict())
    assert (float(loaded.low), float(loaded.high)) == (-1.0, 4.0)
    assert float(loaded(torch.tensor([9.0]))) == 4.0


def test_uniform_quantiser_passes_the_gradient_straight_through() -> None:
    x = torch.tensor([0.1, 0.7, 1.3], requires_grad=True)
    UniformQuantiser(8).train()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


@given(arrays(np.float32, (4, 7), elements=finite))
def test_head_weights_are_the_int8_weights_of_the_converter(weight: np.ndarray) -> None:
    ours = quantised_weight(torch.from_numpy(weight).double()).numpy()
    codes, scales = quantise_weights(weight.astype(np.float64), 0, np.zeros(4))
    peak = np.abs(weight).max(1)
    used = peak > 1e-30
    theirs = codes * scales[:, None]
    steps = np.abs(ours - theirs)[used] / (peak[used, None] / 127)
    # Equal up to the float32 rounding of the stored scale, except exactly on a tie.
    ties = np.abs((np.abs(weight[used]) / (peak[used, None] / 127)) % 1 - 0.5) < 1e-4
    assert (steps[~ties] < 1e-3).all()
