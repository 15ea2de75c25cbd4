"""MAX_POOL_2D."""

# ruff: noqa: D102 - what the methods promise is said once, in Operation.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Array, Encoding, Operation, Stored, Tensor
from qlvit_edge.converters.ops.convolution import PADDING_CODE


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2D(Operation):
    """Largest value of every window, no padding, scale unchanged.

    Attributes:
        window: rows, columns.
        stride: rows, columns.
    """

    window: tuple[int, int]
    stride: tuple[int, int]

    def check(self) -> None:
        if self.quantisation != self.inputs[0].quantisation:
            raise self.refuse("output scale differs from the input's", "keep the scale")

    def sharing(self) -> tuple[Tensor, ...]:
        return self.inputs[:1]

    def stored_range(self, *ranges: Stored) -> Stored:
        return ranges[0]

    def shape_rule(self) -> tuple[int, ...]:
        _, height, width, channels = self.inputs[0].shape
        rows = (height - self.window[0]) // self.stride[0] + 1
        columns = (width - self.window[1]) // self.stride[1] + 1
        return (1, rows, columns, channels)

    def reference(self, *arrays: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(arrays[0], self.window, (1, 2))
        return np.asarray(windows[:, :: self.stride[0], :: self.stride[1]].max(axis=(4, 5)))

    def encoding(self) -> Encoding:
        return Encoding(
            "MAX_POOL_2D",
            2 if self.output.dtype == "int8" else 1,
            "Pool2DOptions",
            {
                "padding": PADDING_CODE["VALID"],
                "strideH": self.stride[0],
                "strideW": self.stride[1],
                "filterHeight": self.window[0],
                "filterWidth": self.window[1],
                "fusedActivationFunction": 0,
            },
        )
