"""Every operation's NumPy meaning against TFLite's kernels, over random shapes and values.

Bit for bit, on BUILTIN_REF and on the default kernels, each in their own arithmetic.
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

FLOAT_ONLY = {"Div", "Floor", "Log", "Rsqrt"}

# Drawing a map takes many decisions, and loading a file a few milliseconds.
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
MANY = settings(max_examples=40, deadline=None, suppress_health_check=_CHECKS)
VERY_MANY = settings(MANY, max_examples=400)
KINDS = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)


def check(kind: type[Operation], data: st.DataObject) -> None:
    found = outcomes(data.draw(CASES[kind]))
    assert found.reference.dtype == found.xnnpack.dtype == found.on_default.dtype
    np.testing.assert_array_equal(found.on_reference, found.reference)
    np.testing.assert_array_equal(found.on_default, found.xnnpack)


@KINDS
@MANY
@given(data=st.data())
def test_numpy_equals_the_reference_and_the_default_kernels(kind, data):
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
