"""One way to say what the network computes, in two arithmetics.

Lowering calls a :class:`GraphBuilder` in the order of the network's ``forward``.
:class:`~qlvit_edge.converters.integer_builder.IntegerBuilder` answers with the integer
graph of the device, :class:`~qlvit_edge.converters.float_builder.FloatBuilder` with its
float32 twin (for calibration, and as what the integer file is compared with). Tensors of
equal name hold the same real-valued quantity in both.

Activations are ``(1, H, W, C)`` maps or ``(1, heads, tokens, d)`` stacks of matrices. Weights
and biases are always given as real numbers; the integer builder quantises them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qlvit_edge.converters.graph import DType, Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Slice, Transpose

from qlvit_edge.errors import ConversionError

Range = tuple[float, float]
Stride = int | tuple[int, int]


class Log2Probabilities(ABC):
    """A softmax whose values are powers of two, in however many tensors its form needs."""

    @abstractmethod
    def matmul_left(
        self,
        a: Tensor,
        *,
        name: str,
        adjoint_a: bool = False,
        symmetric: bool = False,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Multiply: ``a @ p`` (or ``aᵀ @ p``), the probabilities being the right operand.

        Args:
            a: (1, heads, M, N), or (1, heads, N, M) with `adjoint_a`.
            name: name of the product.
            adjoint_a: transpose `a`'s last two dimensions first.
            symmetric: give the product zero point 0, as the right operand of a later
                product needs.
            fixed_range: range known without calibration.
        """

    @abstractmethod
    def split_scalars(self, *, name: str) -> list[Tensor]:
        """Split probabilities (1, 1, 1, K) into K tensors (1, 1, 1, 1) named ``{name}/{k}``."""


class GraphBuilder(ABC):
    """Collects operations; see the module's text. Call :meth:`build` at the end."""

    def __init__(self, name: str) -> None:
        """Begin an empty graph called `name`."""
        self.name = name
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._operations: list[Operation] = []

    # -- what differs between the arithmetics ---------------------------------------------

    @abstractmethod
    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        """Take the image as RGB values 0…255, named ``"image"``; (1, H, W, channels)."""

    @abstractmethod
    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Apply ``x · min(max(x + 3, 0), 6) / 6``."""

    @abstractmethod
    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        """Apply the logistic function (eq. 9); its range is fixed."""

    @abstractmethod
    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        """Apply the softmax of eq. 6 along `axis` (not 0); its range is fixed."""

    @abstractmethod
    def kan_segments(
        self, x: Tensor, *, scale: ArrayLike, shift: ArrayLike, knots: ArrayLike, name: str
    ) -> Tensor:
        """Evaluate the piecewise-linear KAN basis: a ramp from 0 to 1 over every grid interval.

        With ``u = scale[c] · x + shift[c]``, ramp i is
        ``clip((u - knots[i]) / (knots[i+1] - knots[i]), 0, 1)``; its range is fixed.

        Args:
            x: (1, H, W, C).
            scale: (C,) or scalar.
            shift: (C,) or scalar.
            knots: (G + 1,), ascending.
            name: name of the result.

        Returns:
            (1, H, W, G·C), segment by segment: all C channels of ramp 0, then of ramp 1, …
        """

    @abstractmethod
    def _activation(
        self, name: str, fixed_range: Range | None, symmetric: bool = False
    ) -> Quantisation | None:
        """Quantisation of the activation called `name`."""

    @abstractmethod
    def _convolution_constants(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        """Weight (one scale per slice along `axis`) and bias of a convolution of `x`."""

    @abstractmethod
    def _lowest(self, x: Tensor, name: str) -> Tensor:
        """A constant (1,) that no value of `x` is below."""

    @abstractmethod
    def _constant_like(self, name: str, value: float) -> Tensor:
        """A real scalar as a (1, 1, 1, 1) constant."""

    # -- what they share ------------------------------------------------------------------

    def conv(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Stride = 1,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Convolve without padding.

        Args:
            x: (1, H, W, I).
            weight: (O, kh, kw, I), real.
            bias: (O,), real; None for zeros.
            stride: rows and columns.
            relu: clip the result at 0 from below.
            name: name of the result.
            fixed_range: range known without calibration.

        Returns:
            (1, (H - kh) // stride + 1, (W - kw) // stride + 1, O).
        """
        values = np.asarray(weight, np.float64)
        constants = self._weight_and_bias(x, values, bias, 0, name)
        return self._emit(
            Conv2D(
                inputs=(x, *constants),
                name=name,
                quantisation=self._convolved(name, relu, fixed_range),
                stride=_pair(stride),
                activation="RELU" if relu else "NONE",
            )
        )

    def depthwise(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Stride = 1,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Convolve every channel with its own kernel, without padding.

        Args:
            x: (1, H, W, C).
            weight: (kh, kw, C·m), real; output channel c·m + j reads input channel c.
            bias: (C·m,), real; None for zeros.
            stride: rows and columns.
            relu: clip the result at 0 from below.
            name: name of the result.
            fixed_range: range known without calibration.
        """
        values = np.asarray(weight, np.float64)[None]
        constants = self._weight_and_bias(x, values, bias, 3, name)
        return self._emit(
            DepthwiseConv2D(
                inputs=(x, *constants),
                name=name,
                quantisation=self._convolved(name, relu, fixed_range),
                stride=_pair(stride),
                activation="RELU" if relu else "NONE",
            )
        )

    def dense(
        self,
        x: Tensor,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        relu: bool = False,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Apply a linear layer to (1, 1, 1, I) with real (O, I) weights; returns (1, 1, 1, O).

        Written as a 1×1 convolution: every kernel set takes that per output channel.
        """
        values = np.asarray(weight, np.float64)[:, None, None, :]
        return self.conv(x, values, bias, relu=relu, name=name, fixed_range=fixed_range)

    def pad(self, x: Tensor, top: int, bottom: int, left: int, right: int, *, name: str) -> Tensor:
        """Pad a map with real zeros."""
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        constant = Tensor(f"{name}/amounts", (4, 2), "int32", data=amounts)
        return self._emit(Pad(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def max_pool_3x3_s2(self, x: Tensor, *, name: str) -> Tensor:
        """Take the maximum of 3×3 windows, stride 2, padding 1 that never wins (PyTorch's)."""
        amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
        padded = self._emit(
            PadV2(
                inputs=(
                    x,
                    Tensor(f"{name}/amounts", (4, 2), "int32", data=amounts),
                    self._lowest(x, f"{name}/lowest"),
                ),
                name=f"{name}/padded",
                quantisation=x.quantisation,
            )
        )
        return self._emit(
            MaxPool2D(
                inputs=(padded,),
                name=name,
                quantisation=x.quantisation,
                window=(3, 3),
                stride=(2, 2),
            )
        )

    def add(self, a: Tensor, b: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Add; dimensions of size 1 broadcast."""
        return self._emit(
            Add(inputs=(a, b), name=name, quantisation=self._activation(name, fixed_range))
        )

    def mul(self, a: Tensor, b: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Multiply element by element; dimensions of size 1 broadcast."""
        return self._emit(
            Mul(inputs=(a, b), name=name, quantisation=self._activation(name, fixed_range))
        )

    def scale_by(self, x: Tensor, factor: float, *, name: str) -> Tensor:
        """Multiply by a positive real constant; the range follows from `x`'s.

        In integers the stored values stay exactly what they were: only their scale changes.
        """
        if not factor > 0:
            raise ConversionError(name, f"factor {factor}", "scale by a positive number")
        quantisation = x.quantisation and Quantisation((x.scale * factor,), x.zero_point)
        constant = self._constant_like(f"{name}/factor", factor)
        return self._emit(Mul(inputs=(x, constant), name=name, quantisation=quantisation))

    def matmul(
        self,
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
        return self._emit(
            BatchMatMul(
                inputs=(a, b),
                name=name,
                quantisation=self._activation(name, fixed_range, symmetric),
                adjoint_a=adjoint_a,
                adjoint_b=adjoint_b,
            )
        )

    def reshape(self, x: Tensor, shape: Sequence[int], *, name: str) -> Tensor:
        """Give `x` another shape of as many elements; the leading 1 stays."""
        target = np.array(shape, np.int32)
        constant = Tensor(f"{name}/shape", target.shape, "int32", data=target)
        return self._emit(Reshape(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def transpose(self, x: Tensor, permutation: Sequence[int], *, name: str) -> Tensor:
        """Permute dimensions; the leading one stays in front."""
        order = np.array(permutation, np.int32)
        constant = Tensor(f"{name}/permutation", order.shape, "int32", data=order)
        return self._emit(Transpose(inputs=(x, constant), name=name, quantisation=x.quantisation))

    def map_to_heads(self, x: Tensor, heads: int, *, name: str) -> Tensor:
        """Split a map (1, H, W, heads·d) into (1, heads, H·W, d)."""
        _, height, width, channels = x.shape
        if channels % heads:
            raise ConversionError(name, f"{channels} channels, {heads} heads", "must divide")
        split = (1, height * width, heads, channels // heads)
        if heads == 1:
            return self.reshape(x, (1, 1, height * width, channels), name=name)
        return self.transpose(self.reshape(x, split, name=f"{name}/split"), (0, 2, 1, 3), name=name)

    def heads_to_map(self, x: Tensor, height: int, width: int, *, name: str) -> Tensor:
        """Join (1, heads, H·W, d) into a map (1, H, W, heads·d)."""
        _, heads, _, depth = x.shape
        if heads > 1:
            x = self.transpose(x, (0, 2, 1, 3), name=f"{name}/joined")
        return self.reshape(x, (1, height, width, heads * depth), name=name)

    def mean_hw(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Average a map over its positions; returns (1, 1, 1, C)."""
        axes = Tensor(f"{name}/axes", (2,), "int32", data=np.array([1, 2], np.int32))
        return self._emit(
            Mean(inputs=(x, axes), name=name, quantisation=self._activation(name, fixed_range))
        )

    def split(self, x: Tensor, *, name: str) -> list[Tensor]:
        """Split (1, 1, 1, K) into K tensors (1, 1, 1, 1) named ``{name}/{k}``."""
        size = Tensor(f"{name}/size", (4,), "int32", data=np.ones(4, np.int32))
        parts = []
        for k in range(x.shape[3]):
            begin = np.array([0, 0, 0, k], np.int32)
            constant = Tensor(f"{name}/begin/{k}", (4,), "int32", data=begin)
            parts.append(
                self._emit(
                    Slice(
                        inputs=(x, constant, size),
                        name=f"{name}/{k}",
                        quantisation=x.quantisation,
                    )
                )
            )
        return parts

    def output(self, x: Tensor) -> None:
        """Make `x` an output of the graph."""
        self._outputs.append(x)

    def build(self) -> Graph:
        """Return the finished graph."""
        return Graph(self.name, tuple(self._inputs), tuple(self._outputs), tuple(self._operations))

    # -- helpers --------------------------------------------------------------------------

    def _emit(self, operation: Operation) -> Tensor:
        self._operations.append(operation)
        return operation.output

    def _input(self, name: str, shape: tuple[int, ...], dtype: DType) -> Tensor:
        tensor = Tensor(name, shape, dtype)
        self._inputs.append(tensor)
        return tensor

    def _convolved(self, name: str, relu: bool, fixed_range: Range | None) -> Quantisation | None:
        return self._activation(
            name, (0.0, fixed_range[1]) if relu and fixed_range else fixed_range
        )

    def _weight_and_bias(
        self,
        x: Tensor,
        weight: NDArray[np.float64],
        bias: ArrayLike | None,
        axis: int,
        name: str,
    ) -> tuple[Tensor, Tensor]:
        channels = weight.shape[axis]
        values = np.zeros(channels) if bias is None else np.asarray(bias, np.float64)
        if values.shape != (channels,):
            raise ConversionError(
                name, f"bias {values.shape} for {channels} channels", "give one per channel"
            )
        return self._convolution_constants(x, weight, values, axis, name)


def _pair(stride: Stride) -> tuple[int, int]:
    return (stride, stride) if isinstance(stride, int) else stride
