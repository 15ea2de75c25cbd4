"""Writes a graph as a ``.tflite`` file with the flatbuffer object API.

The same graph gives the same bytes. Constants of equal content share one buffer, buffers are
aligned to 16 bytes, every operator carries the version its encoding names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import flatbuffers
import numpy as np

from qlvit_edge.converters.graph import Graph, Operation, Tensor
from qlvit_edge.presence import present

_FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_LAST_CODE_IN_A_BYTE = 127
_ALIGNMENT = 16


def write_tflite(graph: Graph) -> bytes:
    """Return the file's bytes, deterministically.

    Args:
        graph: integer or float32 graph.
    """
    from ai_edge_litert import schema_py_generated as schema

    return _Writer(graph, schema).write()


@cache
def _aligned_buffer_class(schema: Any) -> Any:
    """Return the class of buffers whose data the packer puts at multiples of 16."""

    class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:
            builder.StartVector(1, len(self.data), _ALIGNMENT)
            start = builder.head - len(self.data)
            builder.head = start
            builder.Bytes[start : start + len(self.data)] = self.data
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    return AlignedBuffer


class _Writer:
    """State of one file being written: indices of tensors, buffers and operator codes."""

    def __init__(self, graph: Graph, schema: Any) -> None:
        self.graph = graph
        self.schema = schema
        empty = schema.BufferT()  # buffer 0 means "no data"
        self.buffers: list[Any] = [empty]
        self.buffer_index: dict[bytes, int] = {}
        self.codes: list[Any] = []
        self.code_index: dict[tuple[int, int], int] = {}
        self.tensor_index: dict[str, int] = {}

    def write(self) -> bytes:
        schema = self.schema
        subgraph = schema.SubGraphT()
        subgraph.name = self.graph.name
        subgraph.tensors = []
        for tensor in self.graph.tensors():
            self.tensor_index[tensor.name] = len(subgraph.tensors)
            subgraph.tensors.append(self.tensor(tensor))
        subgraph.inputs = [self.tensor_index[t.name] for t in self.graph.inputs]
        subgraph.outputs = [self.tensor_index[t.name] for t in self.graph.outputs]
        subgraph.operators = [self.operator(op) for op in self.graph.operations]
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = self.graph.name
        model.subgraphs = [subgraph]
        model.operatorCodes = self.codes
        model.buffers = self.buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())

    def tensor(self, tensor: Tensor) -> Any:
        result = self.schema.TensorT()
        result.name = tensor.name
        result.shape = list(tensor.shape)
        result.type = getattr(self.schema.TensorType, tensor.dtype.upper())
        result.buffer = 0 if tensor.data is None else self.buffer(tensor)
        if tensor.quantisation is not None:
            quantisation = self.schema.QuantizationParametersT()
            scales = tensor.quantisation.scale
            quantisation.scale = np.array(scales, np.float32)
            quantisation.zeroPoint = np.full(len(scales), tensor.quantisation.zero_point, np.int64)
            quantisation.quantizedDimension = tensor.quantisation.axis or 0
            result.quantization = quantisation
        return result

    def buffer(self, tensor: Tensor) -> int:
        data = present(tensor.data, f"what {tensor.name} stores")
        content = np.ascontiguousarray(data).tobytes()
        if content not in self.buffer_index:
            buffer = _aligned_buffer_class(self.schema)()
            buffer.data = content
            self.buffer_index[content] = len(self.buffers)
            self.buffers.append(buffer)
        return self.buffer_index[content]

    def operator(self, operation: Operation) -> Any:
        encoding = operation.encoding()
        result = self.schema.OperatorT()
        result.opcodeIndex = self.code(encoding.builtin, encoding.version)
        result.inputs = [self.tensor_index[t.name] for t in operation.inputs]
        result.outputs = [self.tensor_index[operation.name]]
        if encoding.options is not None:
            table = getattr(self.schema, encoding.options + "T")()
            for field, value in encoding.fields.items():
                if not hasattr(table, field):
                    raise operation.refuse(f"no field {field}", f"see {encoding.options}")
                setattr(table, field, value)
            kinds = self.schema.BuiltinOptions
            if hasattr(kinds, encoding.options):
                result.builtinOptionsType = getattr(kinds, encoding.options)
                result.builtinOptions = table
            else:
                result.builtinOptions2Type = getattr(self.schema.BuiltinOptions2, encoding.options)
                result.builtinOptions2 = table
        return result

    def code(self, builtin: str, version: int) -> int:
        number = getattr(self.schema.BuiltinOperator, builtin)
        if (number, version) not in self.code_index:
            code = self.schema.OperatorCodeT()
            code.builtinCode = number
            # Old readers look at the byte-sized field; larger codes say "placeholder" there.
            code.deprecatedBuiltinCode = min(number, _LAST_CODE_IN_A_BYTE)
            code.version = version
            self.code_index[(number, version)] = len(self.codes)
            self.codes.append(code)
        return self.code_index[(number, version)]
