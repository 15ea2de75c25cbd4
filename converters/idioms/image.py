"""The image: what a caller gives, and the int8 that convolutions read."""

from __future__ import annotations

import numpy as np

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import stored
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.elementwise import Add, Mul, Sub
from qlvit_edge.converters.ops.lookup import Bitcast, Quantize

_SIGNED = Quantisation((1.0,), -128)


def input_image(writer: Writer, height: int, width: int, channels: int = 3) -> Tensor:
    """Take the image as values 0…255, named ``"image"``; returns (1, H, W, channels).

    Float: as it is. Integers: uint8, of which ``image/int8`` is less 128.
    """
    shape = (1, height, width, channels)
    match writer.numerics:
        case Float():
            return writer.input(Tensor("image", shape, "float32"))
        case EdgeTpu():
            return _sign_by_quantize(writer, _unsigned_input(writer, shape))
        case Int8():
            return _sign_by_table(writer, _unsigned_input(writer, shape))


def _unsigned_input(writer: Writer, shape: tuple[int, ...]) -> Tensor:
    return writer.input(Tensor("image", shape, "uint8", Quantisation((1.0,), 0)))


def _sign_by_quantize(writer: Writer, image: Tensor) -> Tensor:
    return writer.emit(Quantize(inputs=(image,), name="image/int8", quantisation=_SIGNED))


def _sign_by_table(writer: Writer, image: Tensor) -> Tensor:
    """Read bytes as int8, and add 256 to what became negative.

    XNNPACK makes one table of the three operations, a seventh of QUANTIZE's time.
    """
    plain = Quantisation((1.0,), 0)
    read = writer.emit(Bitcast(inputs=(image,), name="image/read", quantisation=plain))
    zero = stored("image/zero", np.zeros((1, 1, 1, 1)), plain)
    # 1 below zero, which its fine scale saturates at, else 0.
    unit = Quantisation((1 / 255,), -128)
    below = writer.emit(Sub(inputs=(zero, read), name="image/below_zero", quantisation=unit))
    turn = stored("image/turn", np.full((1, 1, 1, 1), 127), Quantisation((256 / 127,), 0))
    turns = Quantisation((256 / 255,), -128)
    whole = writer.emit(Mul(inputs=(below, turn), name="image/turns", quantisation=turns))
    return writer.emit(Add(inputs=(read, whole), name="image/int8", quantisation=_SIGNED))
