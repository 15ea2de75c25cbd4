"""The softmax of eq. 6, whose values are powers of two, and products with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.idioms.arithmetic import matmul, scale_by
from qlvit_edge.converters.idioms.constants import (
    integer_full,
    integer_like,
    integers,
    stored,
)
from qlvit_edge.converters.idioms.numerics import EdgeTpu, Float, Int8
from qlvit_edge.converters.idioms.scales import Range
from qlvit_edge.converters.idioms.staircase import staircase
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import Elu, Exp, Floor, Log
from qlvit_edge.converters.ops.elementwise import Add, Div, Maximum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import ReduceMax, Sum
from qlvit_edge.errors import CalibrationError
from qlvit_edge.integer import log2_softmax as integer
from qlvit_edge.integer.iexp import iexp_table
from qlvit_edge.model.family import SoftmaxForm
from qlvit_edge.presence import present

_CODE = Quantisation((integer.CODE_SCALE,), integer.CODE_ZERO_POINT)
_IN_127 = Quantisation((1 / 127,), 0)


@dataclass(frozen=True)
class Probabilities:
    """Powers of two, in however many tensors their form needs.

    Attributes:
        name: of the softmax.
        parts: one tensor; or levels 0-7 and levels 8-15, which add up.
        less_one: what one part is made of, its stored values being the same at another scale and
            zero point; None if there is no such tensor.
    """

    name: str
    parts: tuple[Tensor, ...]
    less_one: Tensor | None = None


def log2_softmax(writer: Writer, x: Tensor, axis: int, *, name: str) -> Probabilities:
    """Apply ``2^max(round(log2 softmax(x)), -15)`` along `axis` (not 0); its range is fixed.

    Float: that, or the plain softmax. Int8: the operations of
    :mod:`qlvit_edge.integer.log2_softmax`, whose ``fast`` form keeps 8 levels in one tensor and
    whose ``exact`` form all 16 in two. Edge TPU: of a few values (so of π) without EXP, which
    would cost a second round trip for every block; over tokens as int8.
    """
    match writer.numerics:
        case Float() as numerics:
            made = in_float(writer, numerics, x, axis, name, numerics.softmax)
            return Probabilities(name, (made,))
        case EdgeTpu() if max(x.shape[:-1]) == 1 and axis == len(x.shape) - 1:
            return Probabilities(name, (staircase(writer, x, name),))
        case Int8() as int8:
            return _by_codes(writer, int8, x, axis, name)


def softmax_axes(graph: Graph) -> dict[str, int]:
    """Return the axis of every softmax in a graph, by its name."""
    return {
        operation.name.removesuffix("/max"): int(np.asarray(operation.inputs[1].data).item())
        for operation in graph.operations
        if isinstance(operation, ReduceMax)
    }


def matmul_probabilities(
    writer: Writer,
    a: Tensor,
    probabilities: Probabilities,
    *,
    name: str,
    adjoint_a: bool = False,
    adjoint_p: bool = False,
    symmetric: bool = False,
    fixed_range: Range | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Multiply: ``factor · (a @ p)``, the probabilities being the right operand.

    One product a tensor of the probabilities, added.

    Args:
        writer: takes the operations.
        a: (1, heads, M, N), or (1, heads, N, M) with `adjoint_a`.
        probabilities: (1, heads, N, P).
        name: name of the product.
        adjoint_a: transpose `a`'s last two dimensions first.
        adjoint_p: transpose the probabilities' last two dimensions first.
        symmetric: give the product zero point 0, as the right operand of a later
            product needs.
        fixed_range: of the product without the factor, known without calibration.
        factor: positive; the result is then called `name`_scaled.
    """
    if probabilities.less_one is not None and factor != 1:
        # One more function of one tensor costs nothing where a product's result would be copied.
        found = writer.numerics.activation(name, fixed_range, symmetric=symmetric)
        quantisation = present(found, f"the range of {name}")
        scaled = Quantisation((quantisation.scale[0] * factor,), quantisation.zero_point)
        part = scale_by(writer, probabilities.parts[0], factor, name=f"{probabilities.name}/scaled")
        return writer.emit(
            BatchMatMul(
                inputs=(a, part),
                name=f"{name}_scaled",
                quantisation=scaled,
                adjoint_a=adjoint_a,
                adjoint_b=adjoint_p,
            )
        )
    product = _product(writer, a, probabilities, name, adjoint_a, adjoint_p, symmetric, fixed_range)
    return product if factor == 1 else scale_by(writer, product, factor, name=f"{name}_scaled")


def _product(
    writer: Writer,
    a: Tensor,
    probabilities: Probabilities,
    name: str,
    adjoint_a: bool,
    adjoint_p: bool,
    symmetric: bool,
    fixed_range: Range | None,
) -> Tensor:
    if len(probabilities.parts) == 1:
        return matmul(
            writer,
            a,
            probabilities.parts[0],
            name=name,
            adjoint_a=adjoint_a,
            adjoint_b=adjoint_p,
            symmetric=symmetric,
            fixed_range=fixed_range,
        )
    quantisation = writer.numerics.activation(name, fixed_range, symmetric=symmetric)
    products = [
        writer.emit(
            BatchMatMul(
                inputs=(a, part),
                name=f"{name}/{suffix}",
                quantisation=quantisation,
                adjoint_a=adjoint_a,
                adjoint_b=adjoint_p,
            )
        )
        for part, suffix in zip(probabilities.parts, ("high", "low"), strict=True)
    ]
    return writer.emit(Add(inputs=tuple(products), name=name, quantisation=quantisation))


def joined(writer: Writer, probabilities: Probabilities) -> Tensor:
    """Return the probabilities as one tensor; of two, those below 1/254 round to 0."""
    if len(probabilities.parts) == 1:
        return probabilities.parts[0]
    name = probabilities.name
    return writer.emit(Add(inputs=probabilities.parts, name=name, quantisation=_IN_127))


def steps(writer: Writer, probabilities: Probabilities) -> tuple[Tensor, float]:
    """Return an int8 tensor whose stored values are the probabilities, and what a step of them is.

    Its own scale and zero point may be others: reading it so leaves functions of it out.
    """
    whole = joined(writer, probabilities)
    return probabilities.less_one or whole, whole.scale


# -- float ----------------------------------------------------------------------------------


def in_float(
    writer: Writer, numerics: Float, x: Tensor, axis: int, name: str, form: SoftmaxForm
) -> Tensor:
    """Write the softmax, in powers of two or plain."""
    axes = integers(f"{name}/axis", [axis])
    largest = writer.emit(ReduceMax(inputs=(x, axes), name=f"{name}/max"))
    below = writer.emit(Sub(inputs=(x, largest), name=f"{name}/shifted"))
    exponential = writer.emit(Exp(inputs=(below,), name=f"{name}/exp"))
    total = writer.emit(Sum(inputs=(exponential, axes), name=f"{name}/sum"))
    if form == "float":
        return writer.emit(Div(inputs=(exponential, total), name=name))
    log_total = writer.emit(Log(inputs=(total,), name=f"{name}/log_sum"))
    log = writer.emit(Sub(inputs=(below, log_total), name=f"{name}/log_exact"))

    def constant(suffix: str, value: float) -> Tensor:
        return numerics.constant(f"{name}/{suffix}", value)

    in_octaves = constant("1/ln2", 1 / math.log(2))
    log2 = writer.emit(Mul(inputs=(log, in_octaves), name=f"{name}/log2"))
    raised = writer.emit(Add(inputs=(log2, constant("half", 0.5)), name=f"{name}/raised"))
    whole = writer.emit(Floor(inputs=(raised,), name=f"{name}/level"))
    lowest = constant("lowest", -integer.TOP_CODE)
    clipped = writer.emit(Maximum(inputs=(whole, lowest), name=f"{name}/level/clipped"))
    octave = constant("ln2", math.log(2))
    rounded = writer.emit(Mul(inputs=(clipped, octave), name=f"{name}/log"))
    return writer.emit(Exp(inputs=(rounded,), name=name))


# -- int8 -----------------------------------------------------------------------------------


def _by_codes(writer: Writer, int8: Int8, x: Tensor, axis: int, name: str) -> Probabilities:
    if int8.form == "exact":
        return Probabilities(name, _exact(writer, int8, x, axis, name))
    anchor = _anchor(int8, name)
    by_elu = _by_elu(int8) and integer.raises(x.shape[axis], anchor)
    raised = anchor if by_elu else 0
    code = _codes(writer, int8, x, axis, raised, name)
    if anchor == integer.LARGEST_ANCHOR:
        code = _clipped(writer, code, raised, name)
    if not by_elu:
        return Probabilities(name, (_powers(writer, code, anchor, name),))
    quantisation = Quantisation((integer.POWER_ELU_SCALE,), integer.ELU_ZERO_POINT)
    less_one = writer.emit(Elu(inputs=(code,), name=f"{name}/less_one", quantisation=quantisation))
    # Functions of one tensor all of them, and so one table to XNNPACK.
    largest = Quantisation((integer.power_scale(0),), 0)
    one = int8.constant(f"{name}/one", 1.0)
    powers = writer.emit(Add(inputs=(less_one, one), name=f"{name}/powers", quantisation=largest))
    power = int8.constant(f"{name}/largest", 2.0**-anchor)
    scale = Quantisation((integer.power_scale(anchor),), 0)
    whole = writer.emit(Mul(inputs=(powers, power), name=name, quantisation=scale))
    return Probabilities(name, (whole,), less_one)


def _exact(writer: Writer, int8: Int8, x: Tensor, axis: int, name: str) -> tuple[Tensor, Tensor]:
    code = _clipped(writer, _codes(writer, int8, x, axis, 0, name), 0, name)
    high = _powers(writer, code, 0, f"{name}/high")
    capped = _powers(writer, code, integer.LARGEST_ANCHOR, f"{name}/capped")
    one = _int8_like(f"{name}/one", 127, _IN_127, x)
    small = capped.quantisation
    excess = writer.emit(Mul(inputs=(high, one), name=f"{name}/excess", quantisation=small))
    # Never below 0 anyway: RELU says so to who bounds what tensors hold.
    low = writer.emit(
        Sub(inputs=(capped, excess), name=f"{name}/low", quantisation=small, activation="RELU")
    )
    return high, low


def _clipped(writer: Writer, code: Tensor, least: int, name: str) -> Tensor:
    lowest = _int8_like(f"{name}/lowest", least, _CODE, code)
    return writer.emit(Maximum(inputs=(code, lowest), name=f"{name}/clipped", quantisation=_CODE))


def _codes(writer: Writer, int8: Int8, x: Tensor, axis: int, raised: int, name: str) -> Tensor:
    """Write the operations of :func:`qlvit_edge.integer.log2_softmax.log2_codes`."""
    return logarithms(writer, int8, x, axis, raised, _CODE, name)


def logarithms(
    writer: Writer,
    int8: Int8,
    x: Tensor,
    axis: int,
    raised: int,
    held: Quantisation,
    name: str,
) -> Tensor:
    """Write the operations of :func:`qlvit_edge.integer.log2_softmax.logarithms`."""
    count = x.shape[axis]
    axes = integers(f"{name}/axis", [axis])
    largest = writer.emit(
        ReduceMax(inputs=(x, axes), name=f"{name}/max", quantisation=x.quantisation)
    )
    scale = integer.shifted_scale(x.scale) if _by_elu(int8) else x.scale
    shifted = Quantisation((scale,), integer.SHIFTED_ZERO_POINT)
    below = writer.emit(Sub(inputs=(x, largest), name=f"{name}/shifted", quantisation=shifted))
    exponential, smallest, offset = _exponentials(writer, int8, below, count, name)
    total = writer.emit(Sum(inputs=(exponential, axes), name=f"{name}/sum/int32"))
    table = integer.log_table(smallest, count, raised)
    first = integer_full(f"{name}/first", offset - smallest, total)
    index = writer.emit(Add(inputs=(total, first), name=f"{name}/index"))
    if table.shift:
        bits = integer_full(f"{name}/bits", table.shift, index)
        index = writer.emit(RightShift(inputs=(index, bits), name=f"{name}/index/coarse"))
    logs = Quantisation((table.scale,), table.zero_point)
    values = stored(f"{name}/log_table", table.values, logs)
    log = writer.emit(Gather(inputs=(values, index), name=f"{name}/log_sum", quantisation=logs))
    return writer.emit(Sub(inputs=(below, log), name=f"{name}/log", quantisation=held))


def _exponentials(
    writer: Writer, int8: Int8, below: Tensor, count: int, name: str
) -> tuple[Tensor, int, int]:
    """Write int32 terms of the sum; with the smallest sum, and what the sum still lacks."""
    if int8.form == "fast":
        operation = Elu if _by_elu(int8) else Exp
        zero_point = integer.ELU_ZERO_POINT if _by_elu(int8) else integer.EXP_ZERO_POINT
        held = Quantisation((integer.EXP_SCALE,), zero_point)
        exponential = writer.emit(operation(inputs=(below,), name=f"{name}/exp", quantisation=held))
        plain = writer.emit(CastToInt32(inputs=(exponential,), name=f"{name}/exp/int32"))
        return plain, integer.EXP_ONE, -integer.EXP_ZERO_POINT * count
    plain = writer.emit(CastToInt32(inputs=(below,), name=f"{name}/shifted/int32"))
    to_index = integer_like(f"{name}/to_index", 128, below)
    index = writer.emit(Add(inputs=(plain, to_index), name=f"{name}/shifted/index"))
    values = iexp_table(below.scale, count)
    table = integers(f"{name}/iexp_table", values)
    exponential = writer.emit(Gather(inputs=(table, index), name=f"{name}/exp/int32"))
    return exponential, int(values[255]), 0


def _by_elu(int8: Int8) -> bool:
    """Whether ELU makes the exponentials: XNNPACK takes it, the Edge TPU runs neither."""
    return int8.form == "fast" and not isinstance(int8, EdgeTpu)


def _anchor(int8: Int8, name: str) -> int:
    anchor = int8.scales.anchor(name)
    if not 0 <= anchor <= integer.LARGEST_ANCHOR:
        raise CalibrationError(name, f"anchor {anchor}", "an anchor is 0 … 8")
    return anchor


def _powers(writer: Writer, code: Tensor, anchor: int, name: str) -> Tensor:
    scale = Quantisation((integer.power_scale(anchor),), 0)
    return writer.emit(Exp(inputs=(code,), name=name, quantisation=scale))


def _int8_like(name: str, value: int, quantisation: Quantisation, x: Tensor) -> Tensor:
    return stored(name, np.full((1,) * len(x.shape), value), quantisation)
