"""Values keep their meaning, only their places change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qlvit_edge.converters.builder.base import BaseBuilder
from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.ops.shape import Reshape, Transpose
from qlvit_edge.errors import ConversionError


class LayoutBuilder(BaseBuilder):
    """Shapes, permutations, and heads."""

    def reshape(self, x: Tensor, shape: Sequence[int], *, name: str) -> Tensor:
        """Give `x` another shape of as many elements; the leading 1 stays."""
        target = np.array(shape, np.int32)
        constant = Tensor(f"{name}/shape", target.shape, "int32", data=target)
        return self._emit(Reshape(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def transpose(self, x: Tensor, permutation: Sequence[int], *, name: str) -> Tensor:
        """Permute dimensions; the leading one stays in front."""
        order = np.array(permutation, np.int32)
        constant = Tensor(f"{name}/permutation", order.shape, "int32", data=order)
        return self._emit(Transpose(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def map_to_heads(self, x: Tensor, heads: int, *, name: str) -> Tensor:
        """Split a map (1, H, W, heads·d) into (1, heads, H·W, d)."""
        _, height, width, channels = x.shape
        if channels % heads:
            raise ConversionError(name, f"{channels} channels, {heads} heads", "must divide")
        split = (1, height * width, heads, channels // heads)
        if heads == 1:
            return self.reshape(x, (1, 1, height * width, channels), name=name)
        return self.transpose(self.reshape(x, split, name=f"{name}/split"), (0, 2, 1, 3), name=name)

    def map_to_channel_heads(self, x: Tensor, heads: int, *, name: str) -> Tensor:
        """Split a map (1, H, W, heads·d) into (1, heads, d, H·W), tokens last.

        A softmax over tokens runs about twice as fast in this layout, its sums being contiguous.
        """
        _, height, width, channels = x.shape
        if channels % heads:
            raise ConversionError(name, f"{channels} channels, {heads} heads", "must divide")
        tokens = height * width
        flat = self.reshape(x, (1, tokens, channels), name=f"{name}/tokens")
        turned = self.transpose(flat, (0, 2, 1), name=f"{name}/turned")
        return self.reshape(turned, (1, heads, channels // heads, tokens), name=name)

    def heads_to_map(self, x: Tensor, height: int, width: int, *, name: str) -> Tensor:
        """Join (1, heads, H·W, d) into a map (1, H, W, heads·d)."""
        _, heads, _, depth = x.shape
        if heads > 1:
            x = self.transpose(x, (0, 2, 1, 3), name=f"{name}/joined")
        return self.reshape(x, (1, height, width, heads * depth), name=name)
