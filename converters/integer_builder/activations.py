"""Hard-swish and sigmoid in operations that stay inside the delegate."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

from qlvit_edge.converters.builder import Range
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.activation import Logistic
from qlvit_edge.converters.ops.elementwise import Add, Mul

_GATE = Quantisation((6 / 255,), -128)  # 0 … 6, both exact; saturation clips for free


class ActivationBuilder(IntegerBase):
    """Functions of one activation."""

    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """See the base class. Two operations that XNNPACK takes: 0.1 ns per element.

        TFLite's own int8 HARD_SWISH stays outside the delegate at 3.6 ns and splits it. What
        is made is ``x · clip(x + 3, 0, 6)``: the sixth is left to the convolutions that read it.
        """
        gate = self._emit(
            Add(
                inputs=(x, self._constant_like(f"{name}/three", 3.0)),
                name=f"{name}/gate",
                quantisation=_GATE,
            )
        )
        plain = self._activation(name, fixed_range)
        assert plain is not None
        sixfold = self._emit(
            Mul(
                inputs=(x, gate),
                name=f"{name}/sixfold",
                quantisation=Quantisation((6 * plain.scale[0],), plain.zero_point),
            )
        )
        return self._stand_for(sixfold, 1 / 6)

    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        return self._emit(
            Logistic(inputs=(x,), name=name, quantisation=Quantisation((1 / 256,), -128))
        )
