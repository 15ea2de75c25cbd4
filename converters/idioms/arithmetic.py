"""Sums, products and averages of activations; all arithmetics are alike here."""

from __future__ import annotations

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.idioms.constants import integers
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.errors import ConversionError


def add(
    writer: Writer, a: Tensor, b: Tensor, *, name: str, fixed_range: Range | None = None
) -> Tensor:
    """Add; dimensions of size 1 broadcast."""
    quantisation = writer.numerics.activation(name, fixed_range)
    return writer.emit(Add(inputs=(a, b), name=name, quantisation=quantisation))


def mul(
    writer: Writer, a: Tensor, b: Tensor, *, name: str, fixed_range: Range | None = None
) -> Tensor:
    """Multiply element by element; dimensions of size 1 broadcast."""
    quantisation = writer.numerics.activation(name, fixed_range)
    return writer.emit(Mul(inputs=(a, b), name=name, quantisation=quantisation))


def scale_by(writer: Writer, x: Tensor, factor: float, *, name: str) -> Tensor:
    """Multiply by a positive real constant; the range follows from `x`'s.

    In integers the stored values stay exactly what they were: only their scale changes.
    """
    if not factor > 0:
        raise ConversionError(name, f"factor {factor}", "scale by a positive number")
    quantisation = x.quantisation and Quantisation((x.scale * factor,), x.zero_point)
    constant = writer.numerics.constant(f"{name}/factor", factor)
    return writer.emit(Mul(inputs=(x, constant), name=name, quantisation=quantisation))


def matmul(
    writer: Writer,
    a: Tensor,
    b: Tensor,
    *,
    name: str,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    symmetric: bool = False,
    fixed_range: Range | None = None,
) -> Tensor:
    """Multiply stacks of matrices: (1, heads, M, N) @ (1, heads, N, P).

    Args:
        writer: takes the operation.
        a: left operand, transposed first with `adjoint_a`.
        b: right operand, transposed first with `adjoint_b`; in integers its zero point
            must be 0 (XNNPACK takes the product only then; see the design notes).
        name: name of the product.
        adjoint_a: see `a`.
        adjoint_b: see `b`.
        symmetric: give the product zero point 0.
        fixed_range: range known without calibration.

    Raises:
        ConversionError: naming a right operand whose zero point is not 0.
    """
    return writer.emit(
        BatchMatMul(
            inputs=(a, b),
            name=name,
            quantisation=writer.numerics.activation(name, fixed_range, symmetric=symmetric),
            adjoint_a=adjoint_a,
            adjoint_b=adjoint_b,
        )
    )


def mean_hw(writer: Writer, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
    """Average a map over its positions; returns (1, 1, 1, C)."""
    axes = integers(f"{name}/axes", [1, 2])
    quantisation = writer.numerics.activation(name, fixed_range)
    return writer.emit(Mean(inputs=(x, axes), name=name, quantisation=quantisation))
