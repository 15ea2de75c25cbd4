"""Models that pass the reader and are odd inside: they crash, hang or grow in native code.

Each is the tiny model with its metadata and one side branch, so that it is a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge.modelfile.metadata import embed


class OddModel:
    """The tiny model, to which operators are added."""

    def __init__(self) -> None:
        self.tree: Any = s.ModelT.InitFromObj(s.Model.GetRootAs(tiny_model(), 0))
        self.graph = self.tree.subgraphs[0]

    def named(self, name: str) -> int:
        """Number of a tensor of the tiny model: ``image``, ``shifted``, ``mixed``, ``mean``."""
        return next(n for n, t in enumerate(self.graph.tensors) if t.name == name.encode())

    def tensor(
        self, shape: Sequence[int], kind: str = "INT8", values: np.ndarray | None = None
    ) -> int:
        """Add a tensor, a constant where there are values; returns its number."""
        tensor = s.TensorT()
        tensor.name = f"odd{len(self.graph.tensors)}".encode()
        tensor.shape, tensor.type = np.array(shape, np.int32), getattr(s.TensorType, kind)
        if kind == "INT8":
            tensor.quantization = s.QuantizationParametersT()
            tensor.quantization.scale = np.array([1.0], np.float32)
            tensor.quantization.zeroPoint = np.array([-128], np.int64)
        tensor.buffer = 0
        if values is not None:
            tensor.buffer = len(self.tree.buffers)
            buffer = s.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self.tree.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def numbers(self, *values: int) -> int:
        """Add a constant int32 vector; returns its number."""
        return self.tensor((len(values),), "INT32", np.array(values, np.int32))

    def numbers_made(self, count: int) -> int:
        """Add an int32 vector that an operator makes; returns its number."""
        return self.tensor((count,), "INT32")

    def add(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> int:
        """Add an operator; returns its first output."""
        code = s.OperatorCodeT()
        code.builtinCode = getattr(s.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.tree.operatorCodes.append(code)
        operator = s.OperatorT()
        operator.opcodeIndex = len(self.tree.operatorCodes) - 1
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(operator)
        return outputs[0]

    def file(self) -> bytes:
        """Return it as a file with metadata."""
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.tree.Pack(builder), file_identifier=b"TFL3")
        return embed(bytes(builder.Output()), metadata(golden=False))


def traps_on_white() -> bytes:
    """FLOOR_MOD of the lowest int32 by pixel - 256, which is -1 for white: a trap on x86-64."""
    model = OddModel()
    shape = (1, 8, 8, 3)
    pixels = model.add(
        "CAST", [model.named("image")], [model.tensor(shape, "INT32")], s.CastOptionsT()
    )
    many = model.tensor((1,), "INT32", np.array([256], np.int32))
    less = model.add("SUB", [pixels, many], [model.tensor(shape, "INT32")], s.SubOptionsT())
    lowest = model.tensor(shape, "INT32", np.full(shape, -(2**31), np.int32))
    model.add("FLOOR_MOD", [lowest, less], [model.tensor(shape, "INT32")], s.FloorModOptionsT())
    return model.file()


def with_a_past(how: str) -> bytes:
    """A sum that depends on the image before: ``variable``, ``unmade``, ``twice``, ``constant``."""
    model = OddModel()
    shape = (1, 8, 8, 3)
    other = model.tensor(shape)
    made = model.tensor(shape)
    if how == "variable":
        model.graph.tensors[other].isVariable = True
    elif how == "twice":
        other, made = model.named("image"), model.named("shifted")
    elif how == "constant":
        other = model.named("image")
        made = model.tensor(shape, values=np.zeros(shape, np.int8))
    model.add("ADD", [model.named("image"), other], [made], s.AddOptionsT())
    return model.file()


def divided_by_nothing() -> bytes:
    """Pixels divided by a constant 0, which the kernel refuses when it runs."""
    model = OddModel()
    shape = (1, 8, 8, 3)
    wide = model.add(
        "CAST", [model.named("image")], [model.tensor(shape, "INT32")], s.CastOptionsT()
    )
    model.add("DIV", [wide, model.numbers(0)], [model.tensor(shape, "INT32")], s.DivOptionsT())
    return model.file()


def filled_by_pixels() -> bytes:
    """FILL whose size is the product of what pixels say: nothing for a black image."""
    model = OddModel()
    options = s.CastOptionsT()
    wide = model.add("CAST", [model.named("image")], [model.tensor((1, 8, 8, 3), "INT32")], options)
    flat = model.add("RESHAPE", [wide, model.numbers(192)], [model.tensor((192,), "INT32")])
    size = model.add(
        "SLICE", [flat, model.numbers(0), model.numbers(4)], [model.tensor((4,), "INT32")]
    )
    value = model.tensor((), "INT8", np.array(1, np.int8))
    model.add("FILL", [size, value], [model.tensor((1,))], s.FillOptionsT())
    return model.file()


def shaped_by_pixels(operator: str) -> bytes:
    """What an operator leaves of 192 numbers is as pixels say; its outer product is squared."""
    model = OddModel()
    wide = model.add(
        "CAST", [model.named("image")], [model.tensor((1, 8, 8, 3), "INT32")], s.CastOptionsT()
    )
    flat = model.add("RESHAPE", [wide, model.numbers(192)], [model.tensor((192,), "INT32")])
    said = model.add(
        "REDUCE_MIN", [flat, model.numbers(0)], [model.tensor((1,), "INT32")], _kept_dimensions()
    )
    zero, one = model.numbers(0), model.numbers(1)
    inputs, options = {
        "SLICE": ([flat, zero, said], None),
        "STRIDED_SLICE": ([flat, zero, said, one], s.StridedSliceOptionsT()),
        "RESHAPE": ([flat, said], None),
        "EXPAND_DIMS": ([flat, said], None),
        "SUM": ([flat, said], _kept_dimensions()),
        "SPLIT": ([said, flat], s.SplitOptionsT()),
    }[operator]
    model.add(operator, inputs, [model.tensor((1,), "INT32")], options)
    return model.file()


def shaped_by_the_batch() -> bytes:
    """The RESHAPE that Keras exports: its shape is packed from the input's first dimension."""
    model = OddModel()
    sides = model.add("SHAPE", [model.named("image")], [model.numbers_made(4)], _int32_shape())
    options = s.StridedSliceOptionsT()
    options.shrinkAxisMask = 1
    bounds = [model.numbers(0), model.numbers(1), model.numbers(1)]
    batch = model.add("STRIDED_SLICE", [sides, *bounds], [model.tensor((), "INT32")], options)
    packing = s.PackOptionsT()
    packing.valuesCount = 2
    rest = model.tensor((), "INT32", np.array(192, np.int32))
    shape = model.add("PACK", [batch, rest], [model.numbers_made(2)], packing)
    model.add("RESHAPE", [model.named("image"), shape], [model.tensor((1, 192))])
    return model.file()


def _kept_dimensions() -> Any:
    options = s.ReducerOptionsT()
    options.keepDims = True
    return options


def _int32_shape() -> Any:
    options = s.ShapeOptionsT()
    options.outType = s.TensorType.INT32
    return options


def tiled(times: int, *, honest: bool) -> bytes:
    """TILE of eight floats, ``times`` each; the file says so, or says that it makes eight."""
    model = OddModel()
    seed = model.tensor((8,), "FLOAT32", np.zeros(8, np.float32))
    made = model.tensor((8 * times if honest else 8,), "FLOAT32")
    model.add("TILE", [seed, model.numbers(times)], [made], s.TileOptionsT())
    return model.file()


def multiplied(side: int, times: int) -> bytes:
    """So many products of square float matrices, all of which the file admits."""
    model = OddModel()
    ones = model.tensor((1,), "FLOAT32", np.ones(1, np.float32))
    shape = (side, side)
    made = [model.tensor(shape, "FLOAT32")]
    left = model.add("BROADCAST_TO", [ones, model.numbers(*shape)], made, version=2)
    last = left
    for _ in range(times):
        last = model.add(
            "BATCH_MATMUL",
            [left, last],
            [model.tensor(shape, "FLOAT32")],
            s.BatchMatMulOptionsT(),
        )
    return model.file()
