"""Times of single operations and of the integer idioms built from them, in ns per element.

    python benchmarks/ops.py [--repeat N]

One thread. Every row is a file of its own on the default kernels; an empty network's time (the
price of one invocation) is subtracted. "XNNPACK" says whether the delegate took everything.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from qlvit_edge.converters.graph import Graph, Operation, Quantisation, Tensor
from qlvit_edge.converters.idioms.activations import hard_swish
from qlvit_edge.converters.idioms.convolutions import depthwise, pad
from qlvit_edge.converters.idioms.kan import kan_layer
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import ScaleRequests
from qlvit_edge.converters.idioms.softmax import joined, log2_softmax
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.ops.activation import Exp, HardSwish, Logistic
from qlvit_edge.converters.ops.elementwise import Add, Maximum, Mul, Sub
from qlvit_edge.converters.ops.lookup import CastToInt32, Gather, Quantize
from qlvit_edge.converters.ops.reduction import ReduceMax, Sum
from qlvit_edge.converters.ops.shape import Pad, Transpose
from qlvit_edge.converters.tflite import write_tflite

MAPS = ((24, 24), (12, 48), (6, 96), (14, 384))
UNIT = Quantisation((0.05,), 3)


def constant(name: str, values: np.ndarray, quantisation: Quantisation | None = None) -> Tensor:
    """Return a constant tensor."""
    return Tensor(name, values.shape, str(values.dtype), quantisation, values)  # type: ignore[arg-type]


def activation(name: str, *shape: int) -> Tensor:
    """Return an int8 input."""
    return Tensor(name, shape, "int8", UNIT)


def single(operation: Operation) -> Graph:
    """Return the graph of one operation."""
    inputs = {t.name: t for t in operation.inputs if t.data is None}
    return Graph("one", tuple(inputs.values()), (operation.output,), (operation,))


def idiom(shape: tuple[int, ...], say: Callable[[Writer, Tensor], Tensor]) -> Graph:
    """Return the graph that int8 makes of one concept."""
    writer = Writer("idiom", Int8(ScaleRequests((-3.0, 3.0), 4)))
    x = activation("x", *shape)
    writer.input(x)
    writer.output(say(writer, x))
    return writer.build()


def operations() -> Iterator[tuple[str, int, Graph]]:
    """Yield (name, elements, graph) of single operations on a 24×24×24 map."""
    x, y, c = (activation("x", 1, 24, 24, 24), activation("y", 1, 24, 24, 24), 13824)
    row = activation("r", 1, 1, 1, 24)
    for kind in (Add, Sub, Mul):
        yield kind.__name__.upper(), c, single(kind(inputs=(x, y), name="o", quantisation=UNIT))
    wide = Add(inputs=(x, row), name="o", quantisation=UNIT)
    yield "ADD, a vector of channels", c, single(wide)
    yield "MAXIMUM", c, single(Maximum(inputs=(x, y), name="o", quantisation=UNIT))
    yield "HARD_SWISH", c, single(HardSwish(inputs=(x,), name="o", quantisation=UNIT))
    sigmoid = Logistic(inputs=(x,), name="o", quantisation=Quantisation((1 / 256,), -128))
    yield "LOGISTIC", c, single(sigmoid)
    yield "EXP", c, single(Exp(inputs=(x,), name="o", quantisation=UNIT))
    tokens = activation("t", 1, 24, 576)
    last = constant("axes", np.array([2], np.int32))
    largest = ReduceMax(inputs=(tokens, last), name="o", quantisation=UNIT)
    yield "REDUCE_MAX over the last axis", c, single(largest)
    plain = Tensor("i", (1, 24, 576), "int32")
    yield "SUM int32 over the last axis", c, single(Sum(inputs=(plain, last), name="o"))
    yield "CAST int8 to int32", c, single(CastToInt32(inputs=(x,), name="o"))
    table = constant("table", np.zeros(256, np.int32))
    yield "GATHER int32", c, single(Gather(inputs=(table, plain), name="o"))
    turn = constant("p", np.array([0, 2, 1], np.int32))
    turned = Transpose(inputs=(tokens, turn), name="o", quantisation=UNIT)
    yield "TRANSPOSE", c, single(turned)
    image = Tensor("x", (1, 96, 96, 3), "uint8", Quantisation((1.0,), 0))
    signed = Quantize(inputs=(image,), name="o", quantisation=Quantisation((1.0,), -128))
    yield "QUANTIZE uint8 to int8", 27648, single(signed)
    amounts = constant("n", np.array([[0, 0], [3, 3], [3, 3], [0, 0]], np.int32))
    pixels = activation("x", 1, 96, 96, 3)
    padded = Pad(inputs=(pixels, amounts), name="o", quantisation=UNIT)
    yield "PAD of 96×96×3, pixel by pixel", 27648, single(padded)


def idioms() -> Iterator[tuple[str, int, Graph]]:
    """Yield (name, elements, graph) of what idioms compose."""
    rows = idiom((1, 96, 96, 3), lambda b, x: pad(b, x, 3, 3, 3, 3, name="y"))
    yield "pad of 96×96×3, row by row", 27648, rows
    for side, channels in MAPS:
        shape, elements = (1, side, side, channels), side * side * channels
        name = f"{side}×{side}×{channels}"
        yield (
            f"hard_swish {name}",
            elements,
            idiom(shape, lambda b, x: hard_swish(b, x, name="y")),
        )
        yield f"kan_layer to 8, 6 intervals {name}", elements, idiom(shape, _kan)
        kernel = np.ones((3, 3, channels))
        yield (
            f"depthwise 3×3 {name}",
            elements,
            idiom(
                shape,
                lambda b, x, w=kernel: depthwise(b, pad(b, x, 1, 1, 1, 1, name="p"), w, name="y"),
            ),
        )
        tokens = (1, 1, channels, side * side)
        yield f"softmax over {side * side} tokens, fast", elements, idiom(tokens, _softmax)


def _kan(writer: Writer, x: Tensor) -> Tensor:
    weight = np.ones((8, 6, x.shape[3]))
    return kan_layer(
        writer, x, scale=1.1, shift=0.1, knots=np.arange(7) - 3.0, weight=weight, name="y"
    )


def _softmax(writer: Writer, x: Tensor) -> Tensor:
    return joined(writer, log2_softmax(writer, x, 3, name="y"))


def seconds(content: bytes, repeat: int) -> tuple[float, bool]:
    """Best mean time of one invocation, and whether XNNPACK runs all of it."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        zeros = np.zeros(detail["shape"], detail["dtype"])
        interpreter.set_tensor(detail["index"], zeros)
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(repeat):
            interpreter.invoke()
        best = min(best, (time.perf_counter() - start) / repeat)
    steps = [step["op_name"] for step in interpreter._get_ops_details()]
    return best, steps.count("DELEGATE") == 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=100)
    repeat = parser.parse_args().repeat
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.machine()
    version = importlib.metadata.version("ai-edge-litert")
    print(f"{model}, ai-edge-litert {version}, numpy {np.__version__}, 1 thread\n")
    tiny = activation("x", 1, 1)
    nothing = single(Add(inputs=(tiny, tiny), name="o", quantisation=UNIT))
    overhead, _ = seconds(write_tflite(nothing), repeat)
    print(f"| {'what':42} | ns/element |      µs | XNNPACK |")
    print(f"|{'-' * 44}|-----------:|--------:|---------|")
    for name, elements, graph in (*operations(), *idioms()):
        taken, delegated = seconds(write_tflite(graph), repeat)
        net = max(taken - overhead, 0.0)
        word = "yes" if delegated else "no"
        print(f"| {name:42} | {net / elements * 1e9:10.2f} | {net * 1e6:7.1f} | {word} |")


if __name__ == "__main__":
    main()
