"""What a network's parameters become on the way: float64 constants, folded."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.layer_norm import standardise
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.traced import Traced, is_traced
from qlvit_edge.model.norms import ChannelNorm, Norm
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.presence import present

Array = NDArray[np.float64]
Affine = tuple[Array, Array]
"""(scale, shift), one of each per channel: ``scale · x + shift``."""


def real(parameter: torch.Tensor | None) -> Array:
    """Return a tensor as float64 NumPy; with its derivative where that is asked for."""
    tensor = present(parameter, "a parameter to be lowered")
    if is_traced(tensor):
        return Traced.of(tensor.double())
    return np.asarray(tensor.detach().cpu().double().numpy())


def affine(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> Affine:
    """Return what a BatchNorm is in evaluation."""
    scale = real(norm.weight) / np.sqrt(real(norm.running_var) + norm.eps)
    return scale, real(norm.bias) - scale * real(norm.running_mean)


def lower_norm(norm: Norm, writer: Writer, x: Tensor, name: str) -> tuple[Tensor, Affine]:
    """Write down as much of a norm as does not fold, and return the rest.

    Args:
        norm: of the channels of `x`.
        writer: takes the operations.
        x: (1, …, C).
        name: of the standardised tensor.

    Returns:
        a tensor of the shape of `x`, and what it is still to be multiplied by and raised by:
        `x` itself and the whole norm for BatchNorm, standardised values, gain and offset for
        LayerNorm.
    """
    if isinstance(norm, ChannelNorm):
        standard = standardise(writer, x, norm.epsilon, name=name)
        return standard, (real(norm.weight), real(norm.bias))
    return x, affine(norm)


def linear(layer: nn.Conv2d) -> tuple[Array, Array]:
    """Return weight (O, I) and bias (O,) of a 1×1 convolution."""
    return real(layer.weight)[:, :, 0, 0], real(layer.bias)


def after_affine(layer: nn.Conv2d, before: Affine) -> tuple[Array, Array]:
    """Return weight and bias of a 1×1 convolution that follows an affine map."""
    weight, bias = linear(layer)
    return weight * before[0], bias + weight @ before[1]


def composition(outer: nn.Conv2d, inner: nn.Conv2d) -> tuple[Array, Array]:
    """Return weight and bias of two 1×1 convolutions in a row as one."""
    outer_weight, outer_bias = linear(outer)
    inner_weight, inner_bias = linear(inner)
    return outer_weight @ inner_weight, outer_bias + outer_weight @ inner_bias


def trained_range(quantiser: UniformQuantiser) -> tuple[float, float]:
    """Return the range that a quantiser was trained with."""
    return float(quantiser.low), float(quantiser.high)
