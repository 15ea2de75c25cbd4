"""How far the default kernels may be from the reference, operation by operation.

Measured by ``benchmarks/kernel_bounds.py`` and asserted, over random shapes, scales and values,
by the tests. The reference is met byte for byte by ``BUILTIN_REF``; the default kernels of
ai-edge-litert (XNNPACK, and builtin ones for what it leaves) round a product of scales in
float32 instead of twice in fixed point, so that values near a tie may fall on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LARGEST_DIFFERENCE: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(
        ("Add", "BatchMatMul", "Conv2D", "DepthwiseConv2D", "Mean", "Mul", "Softmax", "Sub"),
        1,
    )
)
"""Class name of an operation → largest difference in LSB; an operation not named here is equal."""
