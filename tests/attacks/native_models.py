"""Models that pass the reader and are odd inside: what native code has to be kept away from.

Small graphs with random operators, options, shapes and types in them, the same changes in the
bundled models and in the segments of a chain, and damaged bytes of all of these.
"""

from __future__ import annotations

import functools
import random
import struct
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from mutations import Mutator
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge import bundled
from qlvit_edge.errors import ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain import DESCRIPTION
from qlvit_edge.modelfile.metadata import embed
from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS, RUNNING_OPERATORS

_SIDES = (1, 1, 2, 3, 4, 8, 16, 0, 1024)
_NUMBERS = (-1, 0, 1, 2, 3, 7, 8, 127, 255, 1024, -128, 2**15, 2**31 - 1, -(2**31))
_TYPES = ("INT8", "INT8", "UINT8", "INT16", "INT32", "FLOAT32", "BOOL", "INT64", "FLOAT16")
_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions",
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"),
        "ReducerOptions",
    ),
}
_ALL_OPTIONS = {name.casefold(): name for name in vars(schema) if name.endswith("Options")}


class NativeModels:
    """Makes models from a seed; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        """Load what models are made from."""
        self._random = random.Random(seed)
        self._bytes = Mutator(seed)
        self._bundled = [path.read_bytes() for path in sorted(bundled.FOLDER.glob("*/*.tflite"))]
        self._small = [
            tiny_model(),
            tiny_model(features=True),
            tiny_model(floating=True),
            tiny_model(softmax=True),
        ]

    def next(self) -> bytes:
        """Return one more model."""
        chance = self._random.random()
        if chance < 0.70:
            return self._grown()
        if chance < 0.85:
            return self._bytes.next()
        if chance < 0.93:
            return self._changed_chain()
        return self._changed(self._random.choice(self._bundled))

    def _grown(self) -> bytes:
        """A small graph with a few operators more, and its metadata."""
        tree = _tree(self._random.choice(self._small))
        for _ in range(self._random.choice((1, 1, 1, 2))):
            self._insert(tree)
        if self._random.random() < 0.2:
            self._alter(tree)
        content = _packed(tree)
        if content is None:
            return self._grown()
        try:
            features = len(tree.subgraphs[0].outputs) > 1
            return embed(content, metadata(golden=self._random.random() < 0.2, features=features))
        except ModelFileError:  # it does not get past the reader
            return content

    def _changed(self, content: bytes) -> bytes:
        """A model with some of its tensors and operators changed."""
        tree = _tree(content)
        for _ in range(self._random.choice((1, 1, 2))):
            self._random.choice((self._alter, self._insert))(tree)
        return _packed(tree) or content

    def _changed_chain(self) -> bytes:
        """A chain with one segment changed, whose hash is right, or with damaged bytes."""
        # Imported here: converting one takes most of the time of a short run.
        from mini_chain import edited_archive, packed_archive, unpacked_archive

        files = unpacked_archive(_chain())
        name = self._random.choice([name for name in files if name != DESCRIPTION])
        if self._random.random() < 0.2:
            damaged = bytearray(_chain())
            damaged[self._random.randrange(len(damaged))] ^= 1 << self._random.randrange(8)
            return bytes(damaged)
        files[name] = self._changed(files[name])
        archive = packed_archive(list(files.items()))

        def correct(description: dict[str, Any]) -> None:
            for segment in description["segments"]:
                if segment["file"] == name:
                    segment["sha256"] = sha256(files[name])

        return edited_archive(archive, correct)

    def _alter(self, tree: Any) -> None:
        """Change a shape, a type, a wire, an option or a constant."""
        graph = tree.subgraphs[0]
        operator, tensor = self._random.choice(graph.operators), self._random.choice(graph.tensors)
        what = self._random.randrange(7)
        if what == 0:
            tensor.shape = np.array(self._shape(), np.int32)
        elif what == 1:
            tensor.type = getattr(schema.TensorType, self._random.choice(_TYPES))
        elif what == 2 and operator.inputs is not None and len(operator.inputs):
            operator.inputs[self._random.randrange(len(operator.inputs))] = self._random.randrange(
                -1, len(graph.tensors)
            )
        elif what == 3 and operator.builtinOptions is not None:
            self._set(operator.builtinOptions, 0.5)
        elif what == 4:
            self._random.shuffle(graph.operators)
        elif what == 5:
            count = self._random.choice((1, 2, 2, 2, 3))
            chosen = [self._random.randrange(len(graph.tensors)) for _ in range(count)]
            graph.outputs = np.array(chosen, np.int32)
        else:
            self._spoil(tree, tensor)

    def _spoil(self, tree: Any, tensor: Any) -> None:
        """Overwrite words of a constant: axes, sizes, indices, weights."""
        data = tree.buffers[tensor.buffer].data if tensor.buffer < len(tree.buffers) else None
        if data is None or len(data) < 4:
            return
        content = bytearray(bytes(data))
        at = 4 * self._random.randrange(len(content) // 4)
        struct.pack_into("<i", content, at, self._random.choice(_NUMBERS))
        tree.buffers[tensor.buffer].data = np.frombuffer(bytes(content), np.uint8)

    def _insert(self, tree: Any) -> None:
        """Put an operator somewhere, and let what follows read its output."""
        graph = tree.subgraphs[0]
        listed = RUNNING_OPERATORS if self._random.random() < 0.8 else ALLOWED_OPERATORS
        name = self._random.choice(sorted(listed))
        made = [t for op in graph.operators for t in op.outputs if t >= 0] + list(graph.inputs)
        operator = schema.OperatorT()
        operator.opcodeIndex = _code(tree, name, self._random.choice((1, 1, 2, 3, 5)))
        operator.inputs = [int(self._random.choice(made))]
        for _ in range(self._random.choice((0, 0, 1, 1, 2))):
            constant = self._random.random() < 0.7
            extra = self._constant(tree, graph) if constant else int(self._random.choice(made))
            operator.inputs.insert(self._random.randrange(len(operator.inputs) + 1), extra)
        like = graph.tensors[self._random.choice(made)]
        operator.outputs = [
            self._tensor(graph, like) for _ in range(self._random.choice((1, 1, 2)))
        ]
        self._give_options(operator, name)
        at = self._random.randrange(len(graph.operators) + 1)
        graph.operators.insert(at, operator)
        following = graph.operators[at + 1 : at + 2]
        for later in following if self._random.random() < 0.4 else ():
            later.inputs[0] = operator.outputs[0]

    def _give_options(self, operator: Any, name: str) -> None:
        title = _OPTIONS.get(name) or _ALL_OPTIONS.get(f"{name.replace('_', '')}options".casefold())
        if title is None or not hasattr(schema, f"{title}T"):
            return
        operator.builtinOptions = getattr(schema, f"{title}T")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, title, 0)
        self._set(operator.builtinOptions, 0.3)

    def _set(self, options: Any, chance: float) -> None:
        for field, value in vars(options).items():
            if isinstance(value, int | float) and self._random.random() < chance:
                number = self._random.choice(_NUMBERS)
                setattr(options, field, bool(number) if isinstance(value, bool) else number)
            elif isinstance(value, int) and not isinstance(value, bool) and value == 0:
                setattr(options, field, 1 if "stride" in field or "filter" in field else value)

    def _tensor(self, graph: Any, like: Any) -> int:
        tensor = schema.TensorT()
        tensor.name = f"odd{len(graph.tensors)}".encode()
        same = self._random.random() < 0.6
        tensor.shape = like.shape if same else np.array(self._shape(), np.int32)
        tensor.type = like.type
        if self._random.random() < 0.15:
            tensor.type = getattr(schema.TensorType, self._random.choice(_TYPES))
        tensor.quantization = like.quantization
        tensor.buffer = 0
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def _constant(self, tree: Any, graph: Any) -> int:
        """A short vector of numbers, which sizes and axes are."""
        numbers = [self._random.choice(_NUMBERS) for _ in range(self._random.choice((1, 2, 4, 8)))]
        tensor = schema.TensorT()
        tensor.name, tensor.type = b"numbers", schema.TensorType.INT32
        tensor.shape = np.array([len(numbers)], np.int32)
        tensor.buffer = len(tree.buffers)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(struct.pack(f"<{len(numbers)}i", *numbers), np.uint8)
        tree.buffers.append(buffer)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def _shape(self) -> list[int]:
        return [self._random.choice(_SIDES) for _ in range(self._random.choice((0, 1, 2, 4, 4, 6)))]


@functools.cache
def _chain() -> bytes:
    from mini_chain import mini_chain

    return mini_chain()[1]


def _tree(content: bytes) -> Any:
    tree: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for operator in tree.subgraphs[0].operators:
        operator.inputs, operator.outputs = list(operator.inputs), list(operator.outputs)
    return tree


def _packed(tree: Any) -> bytes | None:
    """Return the model as a file; None where its numbers do not fit the schema."""
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    except (struct.error, TypeError, OverflowError):
        return None
    return bytes(builder.Output())


def _code(tree: Any, name: str, version: int) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1
