"""Powers of two from the Edge TPU's own SOFTMAX."""

from __future__ import annotations

import numpy as np

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.convolutions import conv
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.softmax import Softmax
from qlvit_edge.integer.fixed_softmax import OUTPUT_SCALE, OUTPUT_ZERO_POINT

_LEVELS = 8  # powers of two that SOFTMAX's steps can tell apart: 1 … 1/128


def staircase(writer: Writer, x: Tensor, name: str) -> Tensor:
    """Apply ``2^max(round(log2 softmax(x)), -7)`` along the last axis of a few values.

    SOFTMAX has steps of 1/256. That is fine for a few probabilities, though those over tokens
    would all be zero. One convolution tells which thresholds a probability is above (saturation
    makes steps of ramps), a second adds up the rises.
    """
    quantisation = Quantisation((OUTPUT_SCALE,), OUTPUT_ZERO_POINT)
    plain = writer.emit(Softmax(inputs=(x,), name=f"{name}/softmax", quantisation=quantisation))
    count, width = x.shape[-1], 0.5 * OUTPUT_SCALE
    # The threshold √2 below 2^-level, moved into the gap above the last step below it.
    levels = np.arange(_LEVELS)
    below = np.floor(2.0 ** (-levels - 0.5) / OUTPUT_SCALE) * OUTPUT_SCALE + width / 2
    steps = conv(
        writer,
        plain,
        np.tile(np.eye(count), (_LEVELS, 1))[:, None, None, :],
        -np.repeat(below, count),
        name=f"{name}/above",
        fixed_range=(0.0, width),
    )
    rises = np.append(2.0 ** (-levels[:-1] - 1.0), 2.0 ** -levels[-1]) / width
    return conv(
        writer,
        steps,
        (np.eye(count)[:, None, :] * rises[:, None]).reshape(count, 1, 1, -1),
        name=name,
        fixed_range=(0.0, 255 * OUTPUT_SCALE),
    )
