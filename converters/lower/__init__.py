"""Lowering: a trained network, written down operation by operation for the device.

One function per network module, in the order of that module's ``forward``, so that the two
read side by side. A module without one is refused by name. Constants are folded in float64:
BatchNorm, or LayerNorm's gain and offset, into the convolution after it, mean and standard
deviation into the stem, the 1×1 mapping into the query, key and value projections, τ into π's
last layer, 1/√d_k into a scale.
"""

from qlvit_edge.converters.lower.network import lower, require_lowerable

__all__ = ["lower", "require_lowerable"]
