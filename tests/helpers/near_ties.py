"""Cases near ties, searched for: where two ways of rounding part. Random ones hardly meet them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import numpy as np
from one_operation import activation, constant, quantised

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.forms import TwoForms
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.integer.requantise import add_quantised_16, add_quantised_16_by_vectors
from qlvit_edge.integer.xnnpack import Form

THIS_MACHINE: Form = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86"


def parting(
    make: Callable[[np.random.Generator], TwoForms], seed: int
) -> Iterator[tuple[TwoForms, np.ndarray]]:
    """Operations of random scales, each with the accumulators that its forms round differently."""
    generator = np.random.default_rng(seed)
    while True:
        operation = make(generator)
        values = operation.accumulators()
        apart = operation.rounded(values, "x86") != operation.rounded(values, "arm64")
        if apart.any():
            yield operation, values[apart]


def random_mul(generator: np.random.Generator) -> Mul:
    """A product of two bytes. Few bits in a scale make exact ties, where the forms part."""
    first, second = (float(generator.integers(1, 2**4)) * 2.0**-8 for _ in range(2))
    zeros = generator.integers(-128, 128, 3).tolist()
    a, b = (
        activation("a", (1, 256, 1), first, zeros[0]),
        activation("b", (1, 1, 256), second, zeros[1]),
    )
    scale = 2.0 ** generator.integers(-9, 2)
    return Mul(inputs=(a, b), name="y", quantisation=quantised(scale, zeros[2]))


def random_mean(generator: np.random.Generator) -> Mean:
    """An average over a map of up to 900 positions."""
    height, width = generator.integers(1, 31, 2).tolist()
    zeros = generator.integers(-128, 128, 2).tolist()
    x = activation("x", (1, height, width, 16), float(generator.uniform(0.01, 0.1)), zeros[0])
    axes = constant("axes", np.array([1, 2], np.int32))
    out = quantised(x.scale * float(2.0 ** generator.uniform(-3, 1)), zeros[1])
    return Mean(inputs=(x, axes), name="y", quantisation=out)


def map_of_sum(mean: Mean, total: int) -> np.ndarray:
    """Return an input of a MEAN, (1, H, W, C), whose every channel has the sum `total`."""
    _, height, width, channels = mean.inputs[0].shape
    count = height * width
    low, more = divmod(total, count)
    column = np.full(count, low, np.int64)
    column[:more] += 1
    return np.repeat(column.reshape(1, height, width, 1), channels, axis=3).astype(np.int8)


def wide_sums(seed: int) -> Iterator[tuple[Add, dict[str, np.ndarray]]]:
    """Sums of int16 values that the optimised kernel rounds otherwise than the reference."""
    generator = np.random.default_rng(seed)
    while True:
        first, second = (2.0 ** generator.uniform(-12, -8, 2)).astype(np.float32).tolist()
        out = float(np.float32(max(first, second) * 2.0 ** generator.uniform(-1, 2)))
        scales = (first, second, out)
        a, b = generator.integers(-32768, 32768, (2, 1, 1 << 18)).astype(np.int16)
        apart = add_quantised_16(a, b, scales) != add_quantised_16_by_vectors(a, b, scales)
        if not apart.any():
            continue
        # More than a multiple of sixteen: the rest is rounded as the reference does.
        pair = {"a": np.repeat(a[apart], 21)[None], "b": np.repeat(b[apart], 21)[None]}
        tensors = (
            Tensor(name, pair[name].shape, "int16", quantised(scale, 0))
            for name, scale in zip("ab", scales[:2], strict=True)
        )
        yield Add(inputs=tuple(tensors), name="y", quantisation=quantised(out, 0)), pair


def convolution_of(accumulators: np.ndarray, factor: float, zero_point: int) -> Conv2D:
    """A convolution whose output is `accumulators` (n,), which are its biases, times `factor`."""
    count = len(accumulators)
    x = activation("x", (1, 1, 1, 1), 1.0, 0)
    weight = np.zeros((count, 1, 1, 1), np.int8)
    bias = Tensor(
        "b", (count,), "int32", Quantisation((1.0,) * count, 0, 0), accumulators.astype(np.int32)
    )
    return Conv2D(
        inputs=(x, constant("w", weight, Quantisation((1.0,) * count, 0, 0)), bias),
        name="y",
        quantisation=quantised(1 / factor, zero_point),
    )
