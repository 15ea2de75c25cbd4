"""The Kolmogorov-Arnold network with either basis."""

from __future__ import annotations

import numpy as np
from torch import nn

from qlvit_edge.converters.graph import Tensor
from qlvit_edge.converters.idioms.kan import kan_layer
from qlvit_edge.converters.idioms.splines import cubic_kan_layer
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower.constants import Affine, affine, lower_norm, real
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.kan import KAN, CubicKANLayer, KANLayer, LinearKANLayer


def lower_kan(kan: KAN, writer: Writer, x: Tensor, name: str) -> Tensor:
    """``KAN(X) = (Φ_1 ∘ Φ_0) X``, eq. 13.

    With BatchNorm, Φ_0 gives positions on the grid of Φ_1 at once, saturated there.
    """
    x, on_grid = _on_grid(kan.down, writer, x, f"{name}/down")
    following = kan.up.norm
    if isinstance(following, nn.BatchNorm2d):
        hidden = _lower_layer(
            kan.down, writer, x, on_grid, f"{name}/down", _grid_position(kan.up, affine(following))
        )
        identity = np.ones(()), np.zeros(())
        return _lower_layer(kan.up, writer, hidden, identity, f"{name}/up")
    hidden = _lower_layer(kan.down, writer, x, on_grid, f"{name}/down")
    hidden, on_grid = _on_grid(kan.up, writer, hidden, f"{name}/up")
    return _lower_layer(kan.up, writer, hidden, on_grid, f"{name}/up")


def _on_grid(layer: KANLayer, writer: Writer, x: Tensor, name: str) -> tuple[Tensor, Affine]:
    """Return a tensor, and what brings it to positions on the layer's grid."""
    normal, rest = lower_norm(layer.norm, writer, x, f"{name}/norm")
    return normal, _grid_position(layer, rest)


def _grid_position(layer: KANLayer, norm: Affine) -> Affine:
    """Return (scale, shift) from what the norm takes to intervals from the first knot."""
    return norm[0] / layer.step, (norm[1] + layer.reach) / layer.step


def _lower_layer(
    layer: KANLayer,
    writer: Writer,
    x: Tensor,
    position: Affine,
    name: str,
    following: Affine | None = None,
) -> Tensor:
    """``out_q = Σ_p φ_qp(x_p)``, eq. 11 and 12.

    Args:
        layer: of either basis.
        writer: takes the operations.
        x: (1, H, W, I).
        position: what brings `x` to positions on the layer's grid.
        name: name of the result.
        following: what brings the output to positions on the grid of the layer that follows,
            to be applied at once; both layers have the same grid.
    """
    extent = None if following is None else (0.0, float(layer.intervals))
    scale, shift = (np.ones(()), np.zeros(())) if following is None else following
    gain = scale.reshape(-1, 1)
    if isinstance(layer, LinearKANLayer):
        values = real(layer.knot_values())  # (O, I, knots)
        slopes = np.diff(values, axis=2) * gain[..., None]
        return kan_layer(
            writer,
            x,
            scale=position[0],
            shift=position[1],
            knots=np.arange(layer.intervals + 1),
            weight=slopes.transpose(0, 2, 1),  # (O, segments, I)
            bias=values[:, :, 0].sum(1) * scale + shift,
            name=name,
            fixed_range=extent,
        )
    if isinstance(layer, CubicKANLayer):
        coefficients = real(layer.coefficients) * gain[..., None]  # (O, I, bases)
        return cubic_kan_layer(
            writer,
            x,
            scale=position[0],
            shift=position[1],
            intervals=layer.intervals,
            reach=layer.reach,
            weight=coefficients.transpose(0, 2, 1),
            base=real(layer.base_weight) * gain,
            bias=np.broadcast_to(shift, (len(coefficients),)),
            name=name,
            fixed_range=extent,
        )
    raise ConversionError(name, f"{type(layer).__name__} has no integer lowering", "use another")
