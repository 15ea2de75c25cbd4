"""Every operation's NumPy meaning against TFLite's kernels, over random shapes and values.

Bit for bit on BUILTIN_REF; on the default kernels within the recorded bound.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_operation import outcomes
from operation_cases import CASES

from qlvit_edge.converters import ops
from qlvit_edge.converters.graph import Operation
from qlvit_edge.converters.ops.bounds import LARGEST_DIFFERENCE

FLOAT_ONLY = {"Div", "Floor", "Log", "Rsqrt"}

# Drawing a map takes many decisions, and loading a file a few milliseconds.
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
MANY = settings(max_examples=40, deadline=None, suppress_health_check=_CHECKS)
VERY_MANY = settings(MANY, max_examples=400)
KINDS = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)


def check(kind: type[Operation], data: st.DataObject) -> None:
    case = data.draw(CASES[kind])
    expected, reference, default = outcomes(case)
    assert reference.dtype == expected.dtype
    np.testing.assert_array_equal(reference, expected)
    difference = np.abs(default.astype(np.int64) - expected)
    assert difference.max() <= LARGEST_DIFFERENCE.get(kind.__name__, 0)


@KINDS
@MANY
@given(data=st.data())
def test_numpy_equals_the_reference_kernels_and_bounds_the_default_ones(kind, data):
    check(kind, data)


@pytest.mark.slow
@KINDS
@VERY_MANY
@given(data=st.data())
def test_the_same_over_many_more_cases(kind, data):
    check(kind, data)


def concrete_operations() -> set[type[Operation]]:
    found = set()
    for module in pkgutil.iter_modules(ops.__path__):
        members = vars(importlib.import_module(f"{ops.__name__}.{module.name}")).values()
        found |= {
            member
            for member in members
            if inspect.isclass(member)
            and issubclass(member, Operation)
            and not inspect.isabstract(member)
            and not member.__name__.startswith("_")
        }
    return found


def test_no_operation_is_left_out():
    integer = {kind for kind in concrete_operations() if kind.__name__ not in FLOAT_ONLY}
    assert integer - {Operation} == set(CASES)


def test_bounds_are_those_of_operations():
    assert set(LARGEST_DIFFERENCE) <= {kind.__name__ for kind in CASES}
