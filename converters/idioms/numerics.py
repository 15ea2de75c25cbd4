"""How tensors hold real values: in float32, in int8, in int8 of the Edge TPU's operators.

What all idioms need of an arithmetic stands here: the quantisation of an activation, constants,
and the rewrites that end a graph. What an idiom does differently stands with the idiom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import real, stored
from qlvit_edge.converters.idioms.scales import Range, Scales
from qlvit_edge.converters.rewrites.interleave import interleave_columns
from qlvit_edge.converters.rewrites.padding import absorb_padding, fold_columns, pad_by_rows
from qlvit_edge.errors import CalibrationError, ConversionError
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.integer.uniform import quantise_weights, round_half_away, uniform_parameters
from qlvit_edge.model.family import SoftmaxForm

Rewrites = tuple[Callable[[Graph], Graph], ...]

_LARGEST_BIAS = 2**30  # leaves the accumulator as much room again


@dataclass(frozen=True)
class Float:
    """Float32 tensors.

    Attributes:
        softmax: ``"log2"`` rounds probabilities to the powers of two of eq. 6, all 16 levels;
            ``"float"`` leaves them as they are.
        rewrites: end the graph, in this order.
    """

    softmax: SoftmaxForm = "log2"
    rewrites: ClassVar[Rewrites] = (absorb_padding, fold_columns, pad_by_rows)

    def activation(
        self, name: str, fixed_range: Range | None = None, *, symmetric: bool = False
    ) -> Quantisation | None:
        """Return None: nothing is quantised."""
        return None

    def fixed(self, scale: float, zero_point: int) -> Quantisation | None:
        """Return None."""
        return None

    def weights(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a convolution of `x` as constants."""
        return real(f"{name}/weight", weight), real(f"{name}/bias", bias)

    def matrices(self, values: NDArray[np.float64], name: str) -> Tensor:
        """Return the constant right operand of a product."""
        return real(name, values)

    def lowest(self, x: Tensor, name: str) -> Tensor:
        """Return a constant (1,) that no value of `x` is below."""
        return real(name, [np.finfo(np.float32).min])

    def constant(self, name: str, value: float) -> Tensor:
        """Return a real scalar as a (1, 1, 1, 1) constant."""
        return real(name, np.full((1, 1, 1, 1), value))


@dataclass(frozen=True)
class Int8:
    """Int8 tensors (int32 inside softmax and norm); ranges are calibrated, unless fixed.

    Attributes:
        scales: the ranges and anchors.
        form: of the softmax, see :mod:`qlvit_edge.integer.log2_softmax`.
        rewrites: end the graph, in this order.
    """

    scales: Scales
    form: Form = "fast"
    rewrites: ClassVar[Rewrites] = (
        absorb_padding,
        fold_columns,
        interleave_columns,
        pad_by_rows,
    )

    def activation(
        self, name: str, fixed_range: Range | None = None, *, symmetric: bool = False
    ) -> Quantisation:
        """Return the quantisation of an activation (eq. 14-18).

        Args:
            name: of the tensor.
            fixed_range: known without calibration.
            symmetric: with zero point 0.

        Raises:
            CalibrationError: there is no range, or it is not one.
        """
        known = fixed_range if fixed_range is not None else self.scales.range(name)
        low, high = float(known[0]), float(known[1])
        try:
            if symmetric:
                peak = max(abs(low), abs(high))
                return Quantisation((uniform_parameters(0.0, peak * 255 / 127).scale,), 0)
            parameters = uniform_parameters(low, high)
        except ValueError as error:
            raise CalibrationError(name, str(error), "calibrate this network again") from error
        return Quantisation((parameters.scale,), parameters.int8_zero_point)

    def fixed(self, scale: float, zero_point: int) -> Quantisation:
        """Return a quantisation that no calibration changes."""
        return Quantisation((scale,), zero_point)

    def weights(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        """Return weight (one scale per slice along `axis`) and bias of a convolution of `x`."""
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ConversionError(name, "weights are not finite", "train the network again")
        # A channel whose weights are tiny beside its bias gets a coarser scale, or the int32
        # bias at scale s_x · s_w would overflow.
        smallest = np.abs(bias) / (x.scale * _LARGEST_BIAS)
        codes, scales = quantise_weights(weight, axis, smallest)
        bias_scales = scales * x.scale
        offsets = round_half_away(bias / bias_scales).astype(np.int32)
        of_weights = Quantisation(tuple(scales), 0, axis)
        of_bias = Quantisation(tuple(bias_scales), 0, 0)
        return (
            stored(f"{name}/weight", codes, of_weights),
            Tensor(f"{name}/bias", offsets.shape, "int32", of_bias, offsets),
        )

    def matrices(self, values: NDArray[np.float64], name: str) -> Tensor:
        """Return the constant right operand of a product: one scale, zero point 0."""
        codes, scales = quantise_weights(values.reshape(1, -1), 0)
        return stored(name, codes.reshape(values.shape), self.fixed(float(scales[0]), 0))

    def lowest(self, x: Tensor, name: str) -> Tensor:
        """Return a constant (1,) that no value of `x` is below."""
        return stored(name, [-128], x.quantisation)

    def constant(self, name: str, value: float) -> Tensor:
        """Return a real scalar as a (1, 1, 1, 1) constant."""
        code = round_half_away(np.sign(value) * 127)
        return stored(name, np.full((1, 1, 1, 1), code), self.fixed((abs(value) or 1.0) / 127, 0))


@dataclass(frozen=True)
class EdgeTpu(Int8):
    """Int8 in the operators of the Edge TPU, as far as it has them.

    Idioms with a form of their own are those whose int8 form uses what the Edge TPU does not run:
    BITCAST for the image's sign, PADV2, ELU in π's softmax, a kernel that changes in the
    dynamic convolution, unequal dilation in the KAN. Large tensors are not always reshaped on it,
    so padding stays that of maps. See `docs/edgetpu.md`.
    """

    rewrites: ClassVar[Rewrites] = (absorb_padding,)


@dataclass(frozen=True)
class MapMixing(Int8):
    """Int8 whose dynamic convolutions mix maps: all their activations can be int16."""

    rewrites: ClassVar[Rewrites] = (absorb_padding, fold_columns, pad_by_rows)


Numerics = Float | Int8
