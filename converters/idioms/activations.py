"""Functions of one activation: hard-swish and sigmoid."""

from __future__ import annotations

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import HardSwish, Logistic
from qlvit_edge.converters.ops.elementwise import Add, Mul


def hard_swish(writer: Writer, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
    """Apply ``x · min(max(x + 3, 0), 6) / 6``; only a convolution may read the result.

    Float: TFLite's own. Int8: TFLite's own stays outside the delegate at 3.6 ns per element and
    splits it; ADD and MUL, which XNNPACK takes, need 0.1. What they make is six times hard-swish,
    `name`/sixfold: the sixth is left to the weights of the convolutions that read it.
    """
    match writer.numerics:
        case Float():
            return writer.emit(HardSwish(inputs=(x,), name=name))
        case Int8() as int8:
            three = int8.constant(f"{name}/three", 3.0)
            # 0 … 6, both exact; saturation clips for free.
            unit = int8.fixed(6 / 255, -128)
            gate = writer.emit(Add(inputs=(x, three), name=f"{name}/gate", quantisation=unit))
            plain = int8.activation(name, fixed_range)
            return writer.emit(
                Mul(
                    inputs=(x, gate),
                    name=f"{name}/sixfold",
                    quantisation=int8.fixed(6 * plain.scale[0], plain.zero_point),
                    multiple=6.0,
                )
            )


def sigmoid(writer: Writer, x: Tensor, *, name: str) -> Tensor:
    """Apply the logistic function (eq. 9); its range is fixed: 0 … 255/256."""
    quantisation = writer.numerics.fixed(1 / 256, -128)
    return writer.emit(Logistic(inputs=(x,), name=name, quantisation=quantisation))
