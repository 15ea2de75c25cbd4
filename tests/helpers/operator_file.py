"""Files of a few operators that are read but never run: names, types and shapes are what counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

KERNEL, BIAS = "kernel", "bias"
Described = dict[str, tuple[str, tuple[int, ...]]]


def operator_file(
    tensors: Described,
    operators: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Return a `.tflite` file.

    Args:
        tensors: type (`INT8`, `FLOAT32`…) and shape by name; 8-bit ones are quantised, and
            those called `KERNEL` and `BIAS` get zeros as values.
        operators: name (`custom:` and a code for a custom one), inputs, outputs.
        inputs: of the graph.
        outputs: of the graph.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, b"self-made"
    model.buffers, model.operatorCodes, model.subgraphs = [schema.BufferT()], [], [graph]
    graph.name, graph.tensors, graph.operators = b"main", [], []
    numbers = {name: number for number, name in enumerate(tensors)}
    for name, (dtype, shape) in tensors.items():
        graph.tensors.append(_tensor(schema, model, name, dtype, shape))
    for name, read, made in operators:
        builtin, _, code = name.partition(":")
        entry, opcode = schema.OperatorT(), schema.OperatorCodeT()
        opcode.builtinCode = getattr(schema.BuiltinOperator, builtin.upper())
        opcode.deprecatedBuiltinCode = min(opcode.builtinCode, 127)
        opcode.customCode, opcode.version = code or None, 1
        entry.opcodeIndex = len(model.operatorCodes)
        entry.inputs = np.array([numbers[tensor] for tensor in read], np.int32)
        entry.outputs = np.array([numbers[tensor] for tensor in made], np.int32)
        model.operatorCodes.append(opcode)
        graph.operators.append(entry)
    graph.inputs = np.array([numbers[name] for name in inputs], np.int32)
    graph.outputs = np.array([numbers[name] for name in outputs], np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(schema: Any, model: Any, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
    tensor.type, tensor.buffer = getattr(schema.TensorType, dtype), 0
    if dtype in ("INT8", "UINT8"):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([0.1], np.float32)
        tensor.quantization.zeroPoint = np.array([0], np.int64)
    if name in (KERNEL, BIAS):
        size = int(np.prod(shape)) * (4 if dtype == "INT32" else 1)
        buffer = schema.BufferT()
        buffer.data = np.zeros(size, np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    return tensor
