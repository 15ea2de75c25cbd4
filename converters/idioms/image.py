"""The image: what a caller gives, and the int8 that convolutions read."""

from __future__ import annotations

import numpy as np

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.layout import reshape
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.lookup import Bitcast, BitwiseXor, Quantize

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
            image = _unsigned_input(writer, shape)
            if np.prod(shape) % 4:
                return _sign_by_quantize(writer, image)
            return _sign_by_words(writer, image)


def _unsigned_input(writer: Writer, shape: tuple[int, ...]) -> Tensor:
    return writer.input(Tensor("image", shape, "uint8", Quantisation((1.0,), 0)))


def _sign_by_quantize(writer: Writer, image: Tensor) -> Tensor:
    return writer.emit(Quantize(inputs=(image,), name="image/int8", quantisation=_SIGNED))


def _sign_by_words(writer: Writer, image: Tensor) -> Tensor:
    """Turn over the highest bit, which is less 128: four bytes at a time, half QUANTIZE's time."""
    words = int(np.prod(image.shape)) // 4
    bytes_ = reshape(writer, image, (1, words, 4), name="image/bytes")
    four = writer.emit(Bitcast(inputs=(bytes_,), name="image/words"))
    bits = np.full((1, words), 0x80808080, np.uint32).view(np.int32)
    high = Tensor("image/high_bits", bits.shape, "int32", data=bits)
    turned = writer.emit(BitwiseXor(inputs=(four, high), name="image/turned"))
    stored = writer.emit(Bitcast(inputs=(turned,), name="image/int8/bytes", quantisation=_SIGNED))
    return reshape(writer, stored, image.shape, name="image/int8")
