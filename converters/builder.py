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
from qlvit_edge.converters.ops.convolution import Conv2D, DepthwiseConv2D, Padding, same_padding
from qlvit_edge.converters.ops.elementwise import Add, Mul
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.ops.pooling import MaxPool2D
from qlvit_edge.converters.ops.reduction import Mean
from qlvit_edge.converters.ops.shape import Pad, PadV2, Reshape, Transpose
from qlvit_edge.errors import ConversionError

Range = tuple[float, float]
Stride = int | tuple[int, int]
Amounts = tuple[int, int]

_FEW_CHANNELS = 4


class Log2Probabilities(ABC):
    """A softmax whose values are powers of two, in however many tensors its form needs."""

    @abstractmethod
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
        """Multiply: ``a @ p``, the probabilities being the right operand.

        Args:
            a: (1, heads, M, N), or (1, heads, N, M) with `adjoint_a`.
            name: name of the product.
            adjoint_a: transpose `a`'s last two dimensions first.
            adjoint_p: transpose the probabilities' last two dimensions first.
            symmetric: give the product zero point 0, as the right operand of a later
                product needs.
            fixed_range: range known without calibration.
        """

    @abstractmethod
    def joined(self) -> Tensor:
        """Return the probabilities as one tensor (1, 1, 1, K)."""


class GraphBuilder(ABC):
    """Collects operations; see the module's text. Call :meth:`build` at the end."""

    def __init__(self, name: str) -> None:
        """Begin an empty graph called `name`."""
        self.name = name
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._operations: list[Operation] = []
        self._padded: dict[str, tuple[Tensor, tuple[Amounts, Amounts]]] = {}
        self._shares: dict[str, float] = {}

    # -- what differs between the arithmetics ---------------------------------------------

    @abstractmethod
    def input_image(self, height: int, width: int, channels: int = 3) -> Tensor:
        """Take the image as RGB values 0…255, named ``"image"``; (1, H, W, channels)."""

    @abstractmethod
    def hard_swish(self, x: Tensor, *, name: str, fixed_range: Range | None = None) -> Tensor:
        """Apply ``x · min(max(x + 3, 0), 6) / 6``; only :meth:`conv` may read the result."""

    @abstractmethod
    def sigmoid(self, x: Tensor, *, name: str) -> Tensor:
        """Apply the logistic function (eq. 9); its range is fixed."""

    @abstractmethod
    def log2_softmax(self, x: Tensor, axis: int, *, name: str) -> Log2Probabilities:
        """Apply the softmax of eq. 6 along `axis` (not 0); its range is fixed."""

    @abstractmethod
    def _grid_position(
        self,
        x: Tensor,
        factor: NDArray[np.float64],
        offset: NDArray[np.float64],
        intervals: int,
        name: str,
    ) -> Tensor:
        """``factor[c] · x + offset[c]``; only values within 0 … intervals matter."""

    @abstractmethod
    def _ramps(self, position: Tensor, intervals: int, name: str) -> Tensor:
        """``clip(position - i, 0, 1)`` for every interval i: (1, n) to (1, intervals, n)."""

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
        """Convolve without padding; see :meth:`pad`.

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
        values = np.asarray(weight, np.float64) * self._shares.get(x.name, 1.0)
        step = _pair(stride)
        x, padding = self._absorbed_padding(x, values.shape[1:3], step)
        if x.name in self._padded and step[1] > 1 and x.shape[3] <= _FEW_CHANNELS:
            x, values, step = self._folded_columns(x, values, step, name)
        return self._emit(
            Conv2D(
                inputs=(x, *self._weight_and_bias(x, values, bias, 0, name)),
                name=name,
                quantisation=self._convolved(name, relu, fixed_range),
                stride=step,
                padding=padding,
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
        """Convolve every channel with its own kernel, without padding; see :meth:`pad`.

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
        x, padding = self._absorbed_padding(x, values.shape[1:3], _pair(stride))
        return self._emit(
            DepthwiseConv2D(
                inputs=(x, *self._weight_and_bias(x, values, bias, 3, name)),
                name=name,
                quantisation=self._convolved(name, relu, fixed_range),
                stride=_pair(stride),
                padding=padding,
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
        """Pad a map with real zeros.

        A convolution that reads the result and would pad the same with TFLite's SAME does it
        itself; a padded map that nothing else reads is then left out of the graph.
        """
        self._padded[name] = (x, ((top, bottom), (left, right)))
        return self._pad_rows(x, ((top, bottom), (left, right)), None, name)

    def max_pool_3x3_s2(self, x: Tensor, *, name: str) -> Tensor:
        """Take the maximum of 3×3 windows, stride 2, padding 1 that never wins (PyTorch's)."""
        lowest = self._lowest(x, f"{name}/lowest")
        padded = self._pad_rows(x, ((1, 1), (1, 1)), lowest, f"{name}/padded")
        return self._emit(
            MaxPool2D(
                inputs=(padded,),
                name=name,
                quantisation=x.quantisation,
                window=(3, 3),
                stride=(2, 2),
            )
        )

    def _pad_rows(
        self, x: Tensor, amounts: tuple[Amounts, Amounts], value: Tensor | None, name: str
    ) -> Tensor:
        """Pad (1, H, W·C) rows: kernels then copy rows, not pixels (3 µs, not 96, for 96×96×3)."""
        _, height, width, channels = x.shape
        rows = self.reshape(x, (1, height, width * channels), name=f"{name}/rows")
        (top, bottom), (left, right) = amounts
        table = np.array([[0, 0], [top, bottom], [left * channels, right * channels]], np.int32)
        constant = Tensor(f"{name}/amounts", (3, 2), "int32", data=table)
        operation: Operation
        if value is None:
            operation = Pad(
                inputs=(rows, constant), name=f"{name}/rows/padded", quantisation=x.quantisation
            )
        else:
            operation = PadV2(
                inputs=(rows, constant, value),
                name=f"{name}/rows/padded",
                quantisation=x.quantisation,
            )
        shape = (1, height + top + bottom, width + left + right, channels)
        return self.reshape(self._emit(operation), shape, name=name)

    def _folded_columns(
        self, x: Tensor, weight: NDArray[np.float64], stride: tuple[int, int], name: str
    ) -> tuple[Tensor, NDArray[np.float64], tuple[int, int]]:
        """Read as many columns as the stride as channels of one cell, which is free.

        Kernels round the channels of every tap up to 4 or 8: three are dear (35 µs for a 7×7/4
        stem on 96×96; 4·3 channels and two taps a row instead of seven, the eighth zero: 22).
        """
        outputs, rows, columns, channels = weight.shape
        source, ((top, _), (left, _)) = self._padded[x.name]
        _, height, width, _ = source.shape
        taps = -(-columns // stride[1])
        cells = (x.shape[2] - columns) // stride[1] + taps
        read = ((x.shape[1] - rows) // stride[0]) * stride[0] + rows
        bottom, right = read - height - top, cells * stride[1] - width - left
        if bottom < 0 or right < 0:
            return x, weight, stride
        padded = self._pad_rows(source, ((top, bottom), (left, right)), None, f"{name}/folded")
        cell = stride[1] * channels
        folded = self.reshape(padded, (1, read, cells, cell), name=f"{name}/cells")
        wide = np.zeros((outputs, rows, taps * stride[1], channels))
        wide[:, :, :columns] = weight
        return folded, wide.reshape(outputs, rows, taps, cell), (stride[0], 1)

    def _absorbed_padding(
        self, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, int]
    ) -> tuple[Tensor, Padding]:
        if x.name not in self._padded:
            return x, "VALID"
        source, amounts = self._padded[x.name]
        same = tuple(
            same_padding(size, extent, step)
            for size, extent, step in zip(source.shape[1:3], kernel, stride, strict=True)
        )
        return (source, "SAME") if same == amounts else (x, "VALID")

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

    def kan_layer(
        self,
        x: Tensor,
        *,
        scale: ArrayLike,
        shift: ArrayLike,
        knots: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        name: str,
        fixed_range: Range | None = None,
    ) -> Tensor:
        """Evaluate a piecewise-linear KAN layer (eq. 11, 12) at every position of a map.

        With ``u = scale[c] · x[c] + shift[c]`` and ramps
        ``r[g, c] = clip((u - knots[g]) / (knots[g+1] - knots[g]), 0, 1)``:
        ``out[o] = bias[o] + Σ_g,c weight[o, g, c] · r[g, c]``.

        The ramps stand above each other, not side by side: one broadcast ADD makes them all
        (in integers saturation clips for free) and a convolution with a kernel of G rows, a
        map's height apart, contracts them. That takes 0.5-0.7 times as long as G ADDs, a
        concatenation and a 1×1 convolution.

        An `x` that is already the position on the grid (scale 1, shift 0, knots 0 … G) saves
        a convolution: fold the affine map into the layer before, with fixed range (0, G).

        Args:
            x: (1, H, W, C).
            scale: (C,) or scalar.
            shift: (C,) or scalar.
            knots: (G + 1,), evenly spaced.
            weight: (O, G, C), real.
            bias: (O,), real; None for zeros.
            name: name of the result.
            fixed_range: range known without calibration.

        Returns:
            (1, H, W, O).

        Raises:
            ConversionError: for a grid that is not even.
        """
        _, height, width, channels = x.shape
        ramps, intervals = self._stacked_ramps(x, scale, shift, knots, name)
        ramps = self.reshape(
            ramps, (1, intervals * height, width, channels), name=f"{name}/stacked"
        )
        kernel = np.asarray(weight, np.float64)[:, :, None, :]
        return self._emit(
            Conv2D(
                inputs=(ramps, *self._weight_and_bias(ramps, kernel, bias, 0, name)),
                name=name,
                quantisation=self._activation(name, fixed_range),
                dilation=height,
            )
        )

    def _stacked_ramps(
        self, x: Tensor, scale: ArrayLike, shift: ArrayLike, knots: ArrayLike, name: str
    ) -> tuple[Tensor, int]:
        """Return the ramps (1, G, H·W·C), and G."""
        grid = np.asarray(knots, np.float64)
        steps = np.diff(grid)
        if len(grid) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
            raise ConversionError(name, f"knots {grid}", "the KAN basis needs an even grid")
        channels = x.shape[3]
        factor = np.broadcast_to(np.asarray(scale, np.float64), (channels,)) / steps[0]
        offset = (np.broadcast_to(np.asarray(shift, np.float64), (channels,)) - grid[0]) / steps[0]
        position = x
        if np.any(factor != 1) or np.any(offset != 0):
            position = self._grid_position(x, factor, offset, len(steps), f"{name}/position")
        elements = int(np.prod(x.shape))
        flat = self.reshape(position, (1, 1, elements), name=f"{position.name}/flat")
        return self._ramps(flat, len(steps), f"{name}/ramps"), len(steps)

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

    def map_to_channel_heads(self, x: Tensor, heads: int, *, name: str) -> Tensor:
        """Split a map (1, H, W, heads·d) into (1, heads, d, H·W), tokens last.

        A softmax over tokens runs about twice as fast in this layout, its sums being contiguous.
        """
        _, height, width, channels = x.shape
        if channels % heads:
            raise ConversionError(name, f"{channels} channels, {heads} heads", "must divide")
        tokens = height * width
        flat = self.reshape(x, (1, tokens, channels), name=f"{name}/tokens")
        turned = self.transpose(flat, (0, 2, 1), name=f"{name}/turned")
        return self.reshape(turned, (1, heads, channels // heads, tokens), name=name)

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

    @abstractmethod
    def dynamic_depthwise(
        self,
        x: Tensor,
        probabilities: Log2Probabilities,
        weights: ArrayLike,
        biases: ArrayLike,
        *,
        name: str,
    ) -> Tensor:
        """Return ``Σ_k p_k · (W_k * x + b_k)``, eq. 1-3, channel by channel; see :meth:`pad`.

        The maps ``W_k * x + b_k`` share one range, that of `name`/kernel0 and so on; the
        result is named `name`/mixed.

        Args:
            x: (1, H, W, C).
            probabilities: p, over the last axis of (1, 1, 1, K).
            weights: (K, kh, kw, C), real.
            biases: (K, C), real.
            name: begins the names of what is made.
        """

    def output(self, x: Tensor) -> None:
        """Make `x` an output of the graph."""
        self._outputs.append(x)

    def build(self) -> Graph:
        """Return the finished graph, without operations that lead to no output."""
        needed = {tensor.name for tensor in self._outputs}
        kept: list[Operation] = []
        for operation in reversed(self._operations):
            if operation.name in needed:
                kept.append(operation)
                needed.update(tensor.name for tensor in operation.inputs)
        return Graph(self.name, tuple(self._inputs), tuple(self._outputs), tuple(reversed(kept)))

    # -- helpers --------------------------------------------------------------------------

    def _stand_for(self, x: Tensor, share: float) -> Tensor:
        """Have `x` stand for `share` times what it holds; convolutions multiply for it."""
        self._shares[x.name] = share
        return x

    def _emit(self, operation: Operation) -> Tensor:
        if not isinstance(operation, Conv2D):
            for tensor in operation.inputs:
                if tensor.name in self._shares:
                    raise operation.refuse(
                        f"{tensor.name} holds a multiple of what it stands for", "convolve it first"
                    )
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


class SingleTensorProbabilities(Log2Probabilities):
    """Probabilities in one tensor: the float ones, and the `fast` form of the integers."""

    def __init__(self, builder: GraphBuilder, tensor: Tensor) -> None:
        """Hold `tensor`, made by `builder`."""
        self._builder = builder
        self._tensor = tensor

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
        """See the base class."""
        return self._builder.matmul(
            a,
            self._tensor,
            name=name,
            adjoint_a=adjoint_a,
            adjoint_b=adjoint_p,
            symmetric=symmetric,
            fixed_range=fixed_range,
        )

    def joined(self) -> Tensor:
        """Return the tensor."""
        return self._tensor


def _pair(stride: Stride) -> tuple[int, int]:
    return (stride, stride) if isinstance(stride, int) else stride
