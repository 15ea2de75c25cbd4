"""The operations of :mod:`qlvit_edge.integer.log2_softmax`, in both forms."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.builder import (
    Log2Probabilities,
    Range,
    SingleTensorProbabilities,
)
from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.activation import Exp
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.reduction import ReduceMax, Sum
from qlvit_edge.errors import CalibrationError
from qlvit_edge.integer import log2_softmax as softmax
from qlvit_edge.integer.iexp import iexp_table

_CODE = Quantisation((softmax.CODE_SCALE,), softmax.CODE_ZERO_POINT)


class SoftmaxBuilder(IntegerBase):
    """The softmax of eq. 6 as codes and powers of two."""

    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        code = self._codes(x, axis, name)
        anchor = 0 if self.softmax_form == "exact" else self._anchor(name)
        if self.softmax_form == "exact" or anchor == softmax.LARGEST_ANCHOR:
            lowest = Tensor(f"{name}/lowest", (1,) * len(x.shape), "int8", _CODE, _int8([0], x))
            code = self._emit(
                Maximum(inputs=(code, lowest), name=f"{name}/clipped", quantisation=_CODE)
            )
        if self.softmax_form == "fast":
            return SingleTensorProbabilities(self, self._powers(code, anchor, name))
        high = self._powers(code, 0, f"{name}/high")
        capped = self._powers(code, softmax.LARGEST_ANCHOR, f"{name}/capped")
        one = Tensor(
            f"{name}/one", (1,) * len(x.shape), "int8", Quantisation((1 / 127,), 0), _int8([127], x)
        )
        excess = self._emit(
            Mul(inputs=(high, one), name=f"{name}/excess", quantisation=capped.quantisation)
        )
        low = self._emit(
            Sub(inputs=(capped, excess), name=f"{name}/low", quantisation=capped.quantisation)
        )
        return _ExactProbabilities(self, name, high, low)

    def _codes(self, x: Tensor, axis: int, name: str) -> Tensor:
        """The operations of :func:`qlvit_edge.integer.log2_softmax.log2_codes`."""
        count = x.shape[axis]
        axes = Tensor(f"{name}/axis", (1,), "int32", data=np.array([axis], np.int32))
        largest = self._emit(
            ReduceMax(inputs=(x, axes), name=f"{name}/max", quantisation=x.quantisation)
        )
        below = self._emit(
            Sub(
                inputs=(x, largest),
                name=f"{name}/shifted",
                quantisation=Quantisation((x.scale,), softmax.SHIFTED_ZERO_POINT),
            )
        )
        exponential, smallest, offset = self._exponentials(below, count, name)
        total = self._emit(Sum(inputs=(exponential, axes), name=f"{name}/sum/int32"))
        table = softmax.log_table(smallest, count)
        index = self._emit(
            Add(
                inputs=(total, self._scalar(f"{name}/first", offset - smallest, x)),
                name=f"{name}/index",
            )
        )
        if table.shift:
            index = self._emit(
                RightShift(
                    inputs=(index, self._scalar(f"{name}/bits", table.shift, x)),
                    name=f"{name}/index/coarse",
                )
            )
        logs = Quantisation((table.scale,), softmax.LOG_ZERO_POINT)
        values = Tensor(f"{name}/log_table", table.values.shape, "int8", logs, table.values)
        log = self._emit(Gather(inputs=(values, index), name=f"{name}/log_sum", quantisation=logs))
        return self._emit(Sub(inputs=(below, log), name=f"{name}/log", quantisation=_CODE))

    def _exponentials(self, below: Tensor, count: int, name: str) -> tuple[Tensor, int, int]:
        """Int32 terms of the sum, the smallest sum, and what the sum still lacks."""
        if self.softmax_form == "fast":
            quantisation = Quantisation((softmax.EXP_SCALE,), softmax.EXP_ZERO_POINT)
            exponential = self._emit(
                Exp(inputs=(below,), name=f"{name}/exp", quantisation=quantisation)
            )
            plain = self._emit(CastToInt32(inputs=(exponential,), name=f"{name}/exp/int32"))
            return plain, softmax.EXP_ONE, -softmax.EXP_ZERO_POINT * count
        plain = self._emit(CastToInt32(inputs=(below,), name=f"{name}/shifted/int32"))
        index = self._emit(
            Add(
                inputs=(plain, self._scalar(f"{name}/to_index", 128, below)),
                name=f"{name}/shifted/index",
            )
        )
        values = iexp_table(below.scale, count)
        table = Tensor(f"{name}/iexp_table", (256,), "int32", data=values)
        exponential = self._emit(Gather(inputs=(table, index), name=f"{name}/exp/int32"))
        return exponential, int(values[255]), 0

    def _anchor(self, name: str) -> int:
        if name not in self.anchors:
            raise CalibrationError(name, "softmax has no anchor", "calibrate this network again")
        anchor = self.anchors[name]
        if not 0 <= anchor <= softmax.LARGEST_ANCHOR:
            raise CalibrationError(name, f"anchor {anchor}", "an anchor is 0 … 8")
        return anchor

    def _powers(self, code: Tensor, anchor: int, name: str) -> Tensor:
        scale = Quantisation((softmax.power_scale(anchor),), 0)
        return self._emit(Exp(inputs=(code,), name=name, quantisation=scale))


def _int8(values: list[int], like: Tensor) -> NDArray[np.int8]:
    return np.array(values, np.int8).reshape((1,) * len(like.shape))


class _ExactProbabilities(Log2Probabilities):
    """Levels 0-7 and 8-15 in a table each; products with both are added."""

    def __init__(self, builder: SoftmaxBuilder, name: str, high: Tensor, low: Tensor) -> None:
        self._builder = builder
        self._name = name
        self._high = high
        self._low = low

    def matmul_left(
        self,
        a: Tensor,
        *,
        name: str,
        adjoint_a: bool = False,
        adjoint_p: bool = False,
        symmetric: bool = False,
        fixed_range: Range | None = None,
    ) -> Tensor:
        builder = self._builder
        quantisation = builder._activation(name, fixed_range, symmetric)
        high, low = (
            builder._emit(
                BatchMatMul(
                    inputs=(a, part),
                    name=f"{name}/{suffix}",
                    quantisation=quantisation,
                    adjoint_a=adjoint_a,
                    adjoint_b=adjoint_p,
                )
            )
            for part, suffix in ((self._high, "high"), (self._low, "low"))
        )
        return builder._emit(Add(inputs=(high, low), name=name, quantisation=quantisation))

    def joined(self) -> Tensor:
        """See the base class; probabilities below 1/254 round to 0 in the joined tensor."""
        quantisation = Quantisation((1 / 127,), 0)
        return self._builder._emit(
            Add(inputs=(self._high, self._low), name=self._name, quantisation=quantisation)
        )
