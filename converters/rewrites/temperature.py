"""Logits divided by a temperature: other scales, the same integers.

The layer of the logits gets weights, a bias and an output whose scales are divided, so a softmax
of the dequantised logits gives calibrated probabilities in any runtime. A kernel multiplies its
sums by input scale · weight scale / output scale, from which a temperature cancels, but for the
rounding of scales to float32. Of the temperatures within some thousandths that one is taken with
which the fewest sums come to another integer than before, in either arithmetic: usually none.
That is tried at all sums where a result changes; between them it cannot, since requantising is
monotone. With many classes there may be no such temperature. Then some sum in a hundred thousand
comes to a neighbouring integer: a file is proved as it is written, whichever it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph, Operation, Quantisation
from qlvit_edge.converters.ops.convolution import Conv2D
from qlvit_edge.converters.ops.shape import Reshape
from qlvit_edge.errors import ConversionError
from qlvit_edge.presence import present

_STEPS = 1 << 15
"""How many float32 values below and above its own an output's scale may be."""

_TRIED = 1000
_AROUND = np.arange(-2, 3)

Sums = NDArray[np.int32]
"""A layer's sums with their bias, (N, channels)."""


def divide_logits(graph: Graph, temperature: float) -> Graph:
    """Return a graph whose first output holds the same integers, of logits that are divided.

    Args:
        graph: whose first output is logits, a layer's int8 result of another shape.
        temperature: above 0; kept to within 0.4 %.

    Raises:
        ConversionError: the first output is nothing of the kind.
    """
    layer, *reshapes = _path_to_logits(graph)
    if not isinstance(layer, Conv2D):
        raise TypeError(f"the logits come from a {type(layer).__name__}")
    last: Operation = _with_equal_integers(layer, temperature)
    new = {layer.name: last}
    for reshape in reshapes:
        inputs = (last.output, *reshape.inputs[1:])
        last = replace(reshape, inputs=inputs, quantisation=last.quantisation)
        new[reshape.name] = last
    operations = tuple(new.get(operation.name, operation) for operation in graph.operations)
    return Graph(graph.name, graph.inputs, (last.output, *graph.outputs[1:]), operations)


def _path_to_logits(graph: Graph) -> list[Operation]:
    """Return the layer that makes the logits, and what reshapes them."""
    makers = {operation.name: operation for operation in graph.operations}
    reshapes: list[Operation] = []
    maker = makers.get(graph.outputs[0].name)
    while isinstance(maker, Reshape):
        reshapes.insert(0, maker)
        maker = makers.get(maker.inputs[0].name)
    if not isinstance(maker, Conv2D) or maker.output.dtype != "int8":
        raise ConversionError(
            graph.outputs[0].name, "is not what a layer makes in int8", "convert without a guard"
        )
    return [maker, *reshapes]


def _with_equal_integers(layer: Conv2D, temperature: float) -> Conv2D:
    """Divide a layer's scales so that sums come to the integers that they came to before."""
    sums = _sums_at_changes(layer)
    expected = [function(layer, sums) for function in _ARITHMETICS]
    best, fewest = layer, sums.size * len(expected) + 1
    for output, weights in _divided_scales(layer, temperature):
        tried = _scaled(layer, weights, output)
        different = 0
        for function, integers in zip(_ARITHMETICS, expected, strict=True):
            different += int(np.count_nonzero(function(tried, sums) != integers))
            if different >= fewest:
                break
        else:
            best, fewest = tried, different
        if fewest == 0:
            break
    return best


def _divided_scales(
    layer: Conv2D, temperature: float
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Yield float32 scales of output and weights whose ratios are nearest to what they were."""
    weight = layer.inputs[1]
    old = present(weight.quantisation, "the weights' scale")
    nearest = np.array([layer.output.scale / temperature], np.float32).view(np.int32)
    outputs = (nearest + np.arange(-_STEPS, _STEPS + 1, dtype=np.int32)).view(np.float32)
    ratios = np.array(old.scale) / layer.output.scale
    exact = outputs.astype(np.float64)[:, None] * ratios
    weights = exact.astype(np.float32)
    off = np.abs(weights / exact - 1).max(1)
    # First the temperature itself: a guard's may have been found here before.
    for index in (_STEPS, *np.argsort(off, kind="stable")[:_TRIED]):
        yield float(outputs[index]), weights[index]


def _scaled(layer: Conv2D, weights: NDArray[np.float32], output: float) -> Conv2D:
    """Return a layer with other scales; what it stores stays as it is."""
    x, weight, bias = layer.inputs
    of_weight = present(weight.quantisation, "the weights' scale")
    old = present(bias.quantisation, "the bias's scale")
    scale = tuple(map(float, weights))
    of_bias = tuple(x.scale * each for each in scale)
    return replace(
        layer,
        inputs=(
            x,
            replace(weight, quantisation=replace(of_weight, scale=scale)),
            replace(bias, quantisation=replace(old, scale=of_bias)),
        ),
        quantisation=Quantisation((output,), layer.output.zero_point),
    )


def _sums_at_changes(layer: Conv2D) -> Sums:
    """Return the sums at which a layer's result changes, and those just below.

    Of sums that no input gives, there are none among them; all others are exact in float32.
    """
    x, weight, bias = layer.inputs
    scales = present(weight.quantisation, "the weights' scale").scale
    weights, constants = present(weight.data, "the weights"), present(bias.data, "the bias")
    channels = len(constants)
    factors = x.scale * np.array(scales) / layer.output.scale
    steps = np.arange(-128, 127) + 0.5 - layer.output.zero_point
    changes = np.rint(steps[:, None] / np.broadcast_to(factors, channels))
    products = np.abs(weights.astype(np.int64)).reshape(channels, -1).sum(1)
    reach = 255 * products + np.abs(constants.astype(np.int64))
    around = np.clip(changes + _AROUND[:, None, None], -reach, reach).astype(np.int32)
    found = []
    for function in _ARITHMETICS:
        values = function(layer, around.reshape(-1, channels)).reshape(around.shape)
        at = np.diff(values.astype(np.int64), axis=0).argmax(0)[None]
        found += [np.take_along_axis(around, at + beyond, 0)[0] for beyond in (0, 1)]
    return np.concatenate(found)


def _by_reference(layer: Conv2D, sums: Sums) -> NDArray[np.int8]:
    return np.asarray(layer.finish_biased(sums.astype(np.int64)))


def _by_xnnpack(layer: Conv2D, sums: Sums) -> NDArray[np.int8]:
    return np.asarray(layer.xnnpack_biased(sums))


_ARITHMETICS = (_by_xnnpack, _by_reference)
