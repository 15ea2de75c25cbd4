"""XNNPACK's arithmetic: against exact fractions, and the kernels of this machine near ties."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import near_ties
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_ties import THIS_MACHINE, parting
from one_operation import Case, activation, outcomes, quantised

from qlvit_edge.converters.graph import Operation
from qlvit_edge.converters.ops.elementwise import Add, Mul, Sub
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.converters.ops.softmax import Softmax
from qlvit_edge.errors import ConversionError
from qlvit_edge.integer import xnnpack
from qlvit_edge.integer.fixed_softmax import fixed_softmax
from qlvit_edge.integer.float_softmax import float_softmax

HALF = Fraction(1, 2)
BYTE = st.integers(-128, 127)
EVERY = np.arange(-128, 128).astype(np.int8)
MANY = settings(max_examples=300, deadline=None)


def to_float32(x: Fraction) -> Fraction:
    """Round to float32, to nearest even, above its subnormal numbers."""
    if x == 0:
        return x
    exponent = math.floor(math.log2(abs(x)))
    while Fraction(2) ** exponent > abs(x):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= abs(x):
        exponent += 1
    step = Fraction(2) ** (exponent - 23)
    return round(x / step) * step


@MANY
@given(st.floats(2**-20, 2**20, width=32), st.integers(-(2**40), 2**40), st.integers(-40, 0))
def test_a_fused_multiply_add_rounds_once(b: float, whole: int, power: int) -> None:
    """Also where float64 would round the sum onto a tie of float32 first."""
    a, c = np.float32(whole * 2.0**power), np.float32(-whole * 2.0**power * b * (1 - 2**-23))
    if abs(a) < 2**-60 or abs(c) < 2**-60:
        return
    exact = Fraction(float(a)) * Fraction(b) + Fraction(float(c))
    assert Fraction(float(xnnpack.fused(a, np.float32(b), c))) == to_float32(exact)


def test_a_fused_multiply_add_is_not_rounded_twice() -> None:
    a, b = np.float32(2**12 + 1), np.float32(2**12 + 1)
    c = np.float32(2.0**-60)
    # The product 2^24 + 2^13 + 1 is a tie of float32; what is added decides it.
    assert xnnpack.fused(a, b, c) == np.float32(2**24 + 2**13 + 2)
    assert xnnpack.fused(a, b, -c) == np.float32(2**24 + 2**13)


@MANY
@given(st.integers(-(2**31), 2**31 - 1), st.floats(2**-31, 255.0, width=32), BYTE)
def test_requantise_rounds_in_float32_three_times(x: int, factor: float, zero_point: int) -> None:
    exact = round(to_float32(to_float32(Fraction(x)) * Fraction(factor)))
    got = xnnpack.requantise(np.array([x], np.int32), np.float32(factor), zero_point)
    assert got[0] == min(max(exact + zero_point, -128), 127)


@MANY
@given(st.integers(-255 * 255, 255 * 255), st.floats(2**-16, 255.0, width=32), BYTE)
def test_products_on_arm64_are_exact_halves_upwards(x: int, factor: float, zero_point: int) -> None:
    got = xnnpack.scale_products(np.array([x], np.int32), (factor, 1.0, 1.0), zero_point, "arm64")
    exact = math.floor(Fraction(x) * Fraction(factor) + HALF) + zero_point
    assert got[0] == min(max(exact, -128), 127)


@pytest.mark.parametrize("power", range(1, 17))
def test_at_ties_of_products_arm64_rounds_upwards_and_x86_to_even(power: int) -> None:
    steps = np.arange(-100, 100)
    ties = (2 * steps + 1) * 2 ** (power - 1)
    scales = (2.0**-power, 1.0, 1.0)
    for form, rounded in (("arm64", steps + 1), ("x86", steps + steps % 2)):
        got = xnnpack.scale_products(ties.astype(np.int32), scales, 3, form)  # type: ignore[arg-type]
        np.testing.assert_array_equal(got, rounded + 3)


def test_the_forms_of_a_product_part_at_ties_only() -> None:
    for operation, products in itertools.islice(parting(near_ties.random_mul, 0), 20):
        factor = Fraction(float(xnnpack.product_factor(*operation.scales())))
        for product in products.tolist():
            distance = abs(product * factor - math.floor(product * factor) - HALF)
            assert distance <= abs(product * factor) / 2**24


def exact_outcome(operation: Operation, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the default kernels give, having compared it with the form of this machine."""
    found = outcomes(Case(operation, inputs))
    arrays = [inputs[t.name] if t.data is None else t.data for t in operation.inputs]
    np.testing.assert_array_equal(found.on_default, operation.xnnpack(*arrays, form=THIS_MACHINE))
    return found.on_default


def test_products_are_those_of_the_kernels_for_every_pair_of_bytes_where_the_forms_part() -> None:
    apart = 0
    for operation, _ in itertools.islice(parting(near_ties.random_mul, 1), 25):
        inputs = {"a": EVERY.reshape(1, 256, 1), "b": EVERY.reshape(1, 1, 256)}
        exact_outcome(operation, inputs)
        forms = (operation.xnnpack(*inputs.values(), form=form) for form in xnnpack.FORMS)
        apart += np.count_nonzero(np.not_equal(*forms))
    assert apart > 1_000


def test_means_are_those_of_the_kernels_at_every_sum_where_the_forms_part() -> None:
    sums = 0
    for operation, apart in itertools.islice(parting(near_ties.random_mean, 2), 40):
        assert isinstance(operation, Mean)
        for total in apart[:: max(1, len(apart) // 20)].tolist():
            exact_outcome(operation, {"x": near_ties.map_of_sum(operation, total)})
            sums += 1
    assert sums > 40


def test_means_on_arm64_round_either_multiply_add_once() -> None:
    """Against fractions, at the ten sums of each operation that are nearest to ties."""
    twice = 0
    for operation, _ in itertools.islice(parting(near_ties.random_mean, 4), 30):
        assert isinstance(operation, Mean)
        (x, _), y, count = operation.inputs, operation.output, operation.count()
        ratio = np.float32(x.scale) / np.float32(y.scale)
        factor = np.float32(ratio * (np.float32(1) / np.float32(count)))
        exact = Fraction(float(factor))
        offset = to_float32(y.zero_point - count * x.zero_point * exact)
        sums = operation.accumulators()
        places = sums * float(factor) + float(offset)
        for total in sums[np.argsort(np.abs(places % 1 - 0.5))[:10]].tolist():
            once = round(to_float32(total * exact + offset))
            (got,) = operation.rounded(np.array([total], np.int32), "arm64")
            assert got == min(max(once, -128), 127)
            twice += once != round(to_float32(to_float32(total * exact) + offset))
    assert twice > 10


def test_random_means_do_not_tell_the_forms_apart() -> None:
    """What the search is for."""
    generator = np.random.default_rng(3)
    apart = 0
    for _ in range(30):
        operation = near_ties.random_mean(generator)
        x = generator.integers(-128, 128, (20, *operation.inputs[0].shape[1:])).astype(np.int8)
        forms = (operation.xnnpack(x, None, form=form) for form in xnnpack.FORMS)
        apart += np.count_nonzero(np.not_equal(*forms))
    assert apart == 0


@pytest.mark.parametrize("power", [-1, -3, -8, -15])
def test_convolutions_round_like_the_kernels_at_and_beside_ties(power: int) -> None:
    """Also beyond 2^24, where an accumulator is rounded before it is multiplied."""
    factor = float(np.float32(2.0**power * (1 - 2**-20)))
    ties = np.arange(-128, 128) / factor + 0.5 / factor
    near = np.add.outer(np.round(ties), np.arange(-3, 4)).ravel()
    large = np.round(np.geomspace(2**24, 2**31 - 1, 300))
    accumulators = np.concatenate([near, large, -large]).clip(-(2**31), 2**31 - 1).astype(np.int64)
    operation = near_ties.convolution_of(accumulators, factor, 5)
    got = exact_outcome(operation, {"x": np.zeros((1, 1, 1, 1), np.int8)}).ravel()
    inverse = np.float32(operation.output.scale)
    scale = Fraction(float(np.float32(1) / inverse))
    for x, value in zip(accumulators.tolist(), got.tolist(), strict=True):
        exact = round(to_float32(to_float32(Fraction(x)) * scale)) + 5
        assert value == min(max(exact, -128), 127)


@pytest.mark.parametrize("kind", [Add, Sub])
def test_sums_are_those_of_the_kernels_for_every_pair_of_bytes(kind: type[Operation]) -> None:
    """Ratios from 2^-10 to 256 and outside of them, where XNNPACK leaves ADD and SUB.

    One in four ratios is a power of two: sums are ties there.
    """
    generator = np.random.default_rng(4)
    taken = 0
    for index in range(40):
        first, second = 2.0 ** generator.uniform(-6, 6, 2)
        zeros = generator.integers(-128, 128, 3).tolist()
        a = activation("a", (1, 256, 1), first, zeros[0])
        b = activation("b", (1, 1, 256), second if index % 2 else first, zeros[1])
        exponent = generator.uniform(-7.9, 8)
        scale = max(a.scale, b.scale) * 2.0 ** (exponent if index % 4 else round(exponent))
        operation = kind(inputs=(a, b), name="y", quantisation=quantised(scale, zeros[2]))
        exact_outcome(operation, {"a": EVERY.reshape(1, 256, 1), "b": EVERY.reshape(1, 1, 256)})
        taken += xnnpack.takes_sum((a.scale, b.scale, operation.output.scale))
    assert 10 < taken < 40


@pytest.mark.parametrize(
    ("scales", "taken"),
    [
        ((2**-10, 1.0, 1.0), True),
        ((2**-10 * (1 - 2**-20), 1.0, 1.0), False),
        ((255.99, 1.0, 1.0), True),
        ((256.0, 1.0, 1.0), False),
    ],
)
def test_which_sums_xnnpack_takes(scales: xnnpack.Scales, taken: bool) -> None:
    assert xnnpack.takes_sum(scales) == taken


@pytest.mark.parametrize("factor", [2.0**-16, 2.0**-16 * (1 - 2**-20), 255.99])
def test_products_at_the_ends_of_what_xnnpack_takes(factor: float) -> None:
    a, b = activation("a", (1, 256, 1), 1.0, 3), activation("b", (1, 1, 256), factor, -7)
    operation = Mul(inputs=(a, b), name="y", quantisation=quantised(1.0, 1))
    assert operation.has_forms() == (factor >= 2.0**-16)
    exact_outcome(operation, {"a": EVERY.reshape(1, 256, 1), "b": EVERY.reshape(1, 1, 256)})


def test_a_product_that_kernels_saturate_at_the_wrong_end_is_refused() -> None:
    a, b = activation("a", (1, 8), 16.0), activation("b", (1, 8), 16.0)
    with pytest.raises(ConversionError, match="products are 256 steps of the output"):
        Mul(inputs=(a, b), name="y", quantisation=quantised(1.0, 0))


def test_int16_sums_of_the_optimised_kernel_where_they_differ_from_the_reference() -> None:
    apart = 0
    for operation, inputs in itertools.islice(near_ties.wide_sums(5), 10):
        got = exact_outcome(operation, inputs)
        apart += np.count_nonzero(got != operation.reference(*inputs.values()))
    assert apart > 100


@pytest.mark.skipif(THIS_MACHINE != "x86", reason="arm64 has another SOFTMAX")
def test_softmax_of_the_optimised_kernel_where_it_differs_from_the_reference() -> None:
    generator = np.random.default_rng(6)
    found = 0
    while found < 10:
        scale = float(np.float32(2.0 ** generator.uniform(-8, -1)))
        spread, count = generator.uniform(2, 70), int(generator.integers(2, 40))
        x = generator.normal(0, spread, (1, 20_000, count)).round().clip(-128, 127).astype(np.int8)
        apart = (float_softmax(x, scale) != fixed_softmax(x, scale)).any(axis=-1)
        found += np.count_nonzero(apart)
        if apart.any():
            rows = x[apart][None]
            tensor = activation("x", rows.shape, scale, 0)
            operation = Softmax(inputs=(tensor,), name="y", quantisation=quantised(1 / 256, -128))
            exact_outcome(operation, {"x": rows})
