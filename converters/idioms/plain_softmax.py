"""The softmax that is not rounded to powers of two, for networks that were trained with it."""

from __future__ import annotations

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import scale_by
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.softmax import Probabilities, in_float, logarithms
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import Elu
from qlvit_edge.converters.ops.elementwise import Add
from qlvit_edge.integer import plain_softmax as integer


def plain_softmax(writer: Writer, x: Tensor, axis: int, *, name: str) -> Probabilities:
    """Apply the softmax along `axis` (not 0).

    Float: plain whatever the numerics say of others. Int8: the operations of
    :mod:`qlvit_edge.integer.plain_softmax`, those of the log2 softmax but with 255 steps up to a
    power of two that no probability of calibration was above.
    """
    match writer.numerics:
        case Float() as numerics:
            return Probabilities(name, (in_float(writer, numerics, x, axis, name, "float"),))
        case Int8() as int8:
            return Probabilities(name, (_by_logarithms(writer, int8, x, axis, name),))


def _by_logarithms(writer: Writer, int8: Int8, x: Tensor, axis: int, name: str) -> Tensor:
    anchor = integer.anchor_of(int8.scales.range(name)[1], x.shape[axis])
    held = Quantisation((integer.LOG_SCALE,), integer.LOG_ZERO_POINT)
    log = logarithms(writer, int8, x, axis, anchor, held, name)
    # Functions of one tensor from here on, and so one table to XNNPACK; see `Elu`.
    shifted = Quantisation((integer.SHARE_SCALE,), integer.LESS_ONE_ZERO_POINT)
    less_one = writer.emit(Elu(inputs=(log,), name=f"{name}/less_one", quantisation=shifted))
    one = int8.constant(f"{name}/one", 1.0)
    share = Quantisation((integer.SHARE_SCALE,), integer.SHARE_ZERO_POINT)
    shares = writer.emit(Add(inputs=(less_one, one), name=f"{name}/shares", quantisation=share))
    return scale_by(writer, shares, 2.0**-anchor, name=name)
