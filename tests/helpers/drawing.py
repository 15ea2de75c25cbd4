"""Numbers for random operations, from everyday to the ends of what kernels accept.

Factors of a change of scale run from 2^-31 to above 1, half of them powers of two, where ties
are frequent; values are noise of all magnitudes, constant runs, or both ends of the range
only, so that accumulators saturate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qlvit_edge.converters.graph import Tensor

Draw = Callable[[st.SearchStrategy[Any]], Any]

BATCH = 2
SEED = st.integers(0, 2**32 - 1)
ZERO_POINT = st.one_of(st.integers(-128, 127), st.sampled_from([-128, -1, 0, 127]))
PADDING = st.sampled_from(["SAME", "VALID"])
EVERY_BYTE = np.arange(-128, 128).astype(np.int8)[None]


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    """2^x for x in [low, high], half of the time a whole x."""
    whole = st.integers(math.ceil(low), math.floor(high)).map(float)
    return st.one_of(whole, st.floats(low, high)).map(lambda x: 2.0**x)


SCALE = st.one_of(st.floats(0.004, 0.2), powers(-12, 2))
# What a product of scales may be multiplied by on its way to int8.
FACTOR = st.one_of(powers(-12, 0), powers(-31, 2), st.sampled_from([1.0, 0.5, 1 - 2**-24]))


def values(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Draw int8 values."""
    generator = np.random.default_rng(draw(SEED))
    pattern = draw(st.sampled_from(["noise", "small", "ends", "lowest", "highest"]))
    if pattern == "lowest":
        return np.full(shape, -128, np.int8)
    if pattern == "highest":
        return np.full(shape, 127, np.int8)
    if pattern == "ends":
        return generator.choice(np.array([-128, -127, 126, 127], np.int8), shape)
    spread = 3.0 if pattern == "small" else 80.0
    found = generator.normal(generator.integers(-100, 100), spread, shape)
    return np.clip(np.round(found), -128, 127).astype(np.int8)


def inputs_of(draw: Draw, *tensors: Tensor) -> dict[str, np.ndarray]:
    """Draw int8 values for activations."""
    return {t.name: values(draw, (BATCH, *t.shape[1:])) for t in tensors}


def words(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(draw(SEED))
    return generator.integers(-(2**31), 2**31, (BATCH, *shape)).astype(np.int32)
