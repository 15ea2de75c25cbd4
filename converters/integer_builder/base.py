"""How the integer graph's tensors get their scales, and the image its sign."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.builder import GraphBuilder, Range
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.ops.lookup import Bitcast, BitwiseXor, Quantize
from qlvit_edge.errors import CalibrationError, ConversionError
from qlvit_edge.integer import log2_softmax as softmax
from qlvit_edge.integer.uniform import quantise_weights, round_half_away, uniform_parameters

_LARGEST_BIAS = 2**30  # leaves the accumulator as much room again


class IntegerBase(GraphBuilder):
    """Ranges from calibration become scales; real constants become stored ones."""

    def __init__(
        self,
        name: str,
        *,
        ranges: Mapping[str, Range],
        softmax_form: softmax.Form = "fast",
        anchors: Mapping[str, int] | None = None,
    ) -> None:
        """Begin an empty graph.

        Args:
            name: of the graph.
            ranges: smallest and largest real value by tensor name.
            softmax_form: see :mod:`qlvit_edge.integer.log2_softmax`.
            anchors: of the ``fast`` form by the softmax's name (0 … 8).
        """
        super().__init__(name)
        self.ranges = ranges
        self.softmax_form: softmax.Form = softmax_form
        self.anchors = anchors or {}

    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        shape = (1, height, width, channels)
        image = Tensor("image", shape, "uint8", Quantisation((1.0,), 0))
        self._inputs.append(image)
        signed = Quantisation((1.0,), -128)
        words, rest = divmod(height * width * channels, 4)
        if rest:
            return self._emit(Quantize(inputs=(image,), name="image/int8", quantisation=signed))
        # Less 128 is the highest bit turned over, in four bytes at a time: half of QUANTIZE's time.
        bytes_ = self.reshape(image, (1, words, 4), name="image/bytes")
        four = self._emit(Bitcast(inputs=(bytes_,), name="image/words"))
        bits = np.full((1, words), 0x80808080, np.uint32).view(np.int32)
        high = Tensor("image/high_bits", bits.shape, "int32", data=bits)
        turned = self._emit(BitwiseXor(inputs=(four, high), name="image/turned"))
        stored = self._emit(Bitcast(inputs=(turned,), name="image/int8/bytes", quantisation=signed))
        return self.reshape(stored, shape, name="image/int8")

    def shared_range(self, names: Sequence[str]) -> Range | None:
        for name in names:
            if name not in self.ranges:
                raise CalibrationError(name, "tensor has no range", "calibrate this network again")
        return (
            min(self.ranges[name][0] for name in names),
            max(self.ranges[name][1] for name in names),
        )

    def _activation(
        self, name: str, fixed_range: Range | None, symmetric: bool = False
    ) -> Quantisation | None:
        known = fixed_range if fixed_range is not None else self.ranges.get(name)
        if known is None:
            raise CalibrationError(name, "tensor has no range", "calibrate this network again")
        low, high = float(known[0]), float(known[1])
        try:
            if symmetric:
                peak = max(abs(low), abs(high))
                return Quantisation((uniform_parameters(0.0, peak * 255 / 127).scale,), 0)
            parameters = uniform_parameters(low, high)
        except ValueError as error:
            raise CalibrationError(name, str(error), "calibrate this network again") from error
        return Quantisation((parameters.scale,), parameters.int8_zero_point)

    def _convolution_constants(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ConversionError(name, "weights are not finite", "train the network again")
        # A channel whose weights are tiny beside its bias gets a coarser scale, or the int32
        # bias at scale s_x · s_w would overflow.
        smallest = np.abs(bias) / (x.scale * _LARGEST_BIAS)
        codes, scales = quantise_weights(weight, axis, smallest)
        weights = Tensor(
            f"{name}/weight",
            codes.shape,
            "int8",
            Quantisation(tuple(scales), 0, axis),
            codes,
        )
        bias_scales = scales * x.scale
        stored = round_half_away(bias / bias_scales).astype(np.int32)
        return weights, Tensor(
            f"{name}/bias",
            stored.shape,
            "int32",
            Quantisation(tuple(bias_scales), 0, 0),
            stored,
        )

    def _lowest(self, x: Tensor, name: str) -> Tensor:
        stored = np.array([-128], np.int8)
        return Tensor(name, (1,), "int8", x.quantisation, stored)

    def _constant_like(self, name: str, value: float) -> Tensor:
        stored = np.full((1, 1, 1, 1), round_half_away(np.sign(value) * 127), np.int8)
        quantisation = Quantisation(((abs(value) or 1.0) / 127,), 0)
        return Tensor(name, (1, 1, 1, 1), "int8", quantisation, stored)

    def _scalar(self, name: str, value: int, like: Tensor) -> Tensor:
        shape = (1,) * len(like.shape)
        return Tensor(name, shape, "int32", data=np.full(shape, value, np.int32))
