"""The operations of :mod:`qlvit_edge.integer.layer_norm`."""

# ruff: noqa: D102 - what the methods promise is said once, in GraphBuilder.

from __future__ import annotations

import numpy as np

from qlvit_edge.converters.graph import Quantisation, Tensor
from qlvit_edge.converters.integer_builder.base import IntegerBase
from qlvit_edge.converters.ops.elementwise import Add, Minimum, Mul, RightShift, Sub
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather, Requantise
from qlvit_edge.converters.ops.reduction import Sum
from qlvit_edge.integer import layer_norm


class IntegerNormBuilder(IntegerBase):
    """Means and squares in int32, reciprocal roots by a table."""

    def standardise(self, x: Tensor, epsilon: float, *, name: str) -> Tensor:
        constants = layer_norm.standardisation(x.shape[-1], x.scale, epsilon)
        last = Tensor(f"{name}/axis", (1,), "int32", data=np.array([len(x.shape) - 1], np.int32))
        plain = self._emit(CastToInt32(inputs=(x,), name=f"{name}/int32"))
        total = self._emit(Sum(inputs=(plain, last), name=f"{name}/sum"))
        mean = self._rounded_mean(total, constants, name)
        fine = self._emit(
            Mul(
                inputs=(plain, self._scalar(f"{name}/fine", 1 << constants.fraction_bits, x)),
                name=f"{name}/int32/fine",
            )
        )
        deviation = self._emit(Sub(inputs=(fine, mean), name=f"{name}/deviation"))
        squared = self._emit(Mul(inputs=(deviation, deviation), name=f"{name}/squared"))
        squares = self._emit(Sum(inputs=(squared, last), name=f"{name}/squares"))
        raised = self._emit(
            Add(
                inputs=(squares, self._scalar(f"{name}/epsilon", constants.epsilon, x)),
                name=f"{name}/squares/raised",
            )
        )
        product = self._emit(
            Mul(
                inputs=(deviation, self._reciprocal_root(raised, name)),
                name=f"{name}/product",
                quantisation=Quantisation((constants.product_scale,), 0),
            )
        )
        return self._emit(
            Requantise(inputs=(product,), name=name, quantisation=self._activation(name, None))
        )

    def _rounded_mean(
        self, total: Tensor, constants: layer_norm.Standardisation, name: str
    ) -> Tensor:
        scaled = self._emit(
            Mul(
                inputs=(total, self._scalar(f"{name}/1/C", constants.mean_factor, total)),
                name=f"{name}/mean/scaled",
            )
        )
        half = self._scalar(f"{name}/half", 1 << (constants.mean_shift - 1), total)
        raised = self._emit(Add(inputs=(scaled, half), name=f"{name}/mean/raised"))
        return self._shifted(raised, constants.mean_shift, f"{name}/mean/int32")

    def _reciprocal_root(self, squares: Tensor, name: str) -> Tensor:
        """Look up the root, at the lowest of the companding's four lines."""
        index = squares
        for piece in range(1, layer_norm.PIECES):
            line = f"{name}/index{piece}"
            coarse = self._shifted(squares, piece * layer_norm.PIECE_BITS, f"{line}/coarse")
            offset = self._scalar(f"{line}/offset", layer_norm.piece_offset(piece), squares)
            other = self._emit(Add(inputs=(coarse, offset), name=f"{line}/line"))
            index = self._emit(Minimum(inputs=(index, other), name=line))
        values = layer_norm.root_table()
        table = Tensor(f"{name}/root_table", values.shape, "int32", data=values)
        return self._emit(Gather(inputs=(table, index), name=f"{name}/root"))

    def _shifted(self, x: Tensor, bits: int, name: str) -> Tensor:
        amount = self._scalar(f"{name}/bits", bits, x)
        return self._emit(RightShift(inputs=(x, amount), name=name))
