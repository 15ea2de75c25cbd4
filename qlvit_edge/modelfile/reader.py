"""Reading a `.tflite` file as a document, before any native code sees it.

A native runtime that is handed a damaged file can crash the process, so every file passes
here first: pure Python, bounds on everything, and one exception for whatever is wrong.
Quality of the model (integers only, known operators) is the audit's business, not ours: any
well-formed TFLite file is accepted, float or integer, from any tool.
"""

from __future__ import annotations

import math
import stat
import struct
from pathlib import Path

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile import schema
from qlvit_edge.modelfile.archive import check_archive
from qlvit_edge.modelfile.document import Document, Operator, Subgraph, Tensor
from qlvit_edge.modelfile.flatbuffer import MalformedError, Table, Walker
from qlvit_edge.modelfile.macs import count_macs
from qlvit_edge.modelfile.schema import Slot
from qlvit_edge.text import counted

OWN_METADATA = "QLVIT_EDGE"
"""Name of the metadata buffer of our own files; an archive of labels ends these."""

MAX_FILE_BYTES = 512 * 1024 * 1024
# What an interpreter would have to allocate for one tensor.
MAX_TENSOR_BYTES = 1024 * 1024 * 1024
MAX_ITEMS = 100_000
MAX_SUBGRAPHS = 256
MAX_RANK = 16
# Two int32 a dimension, as padding has them.
MAX_VALUES_BYTES = 2 * 4 * MAX_RANK

_REMEDY = "give a complete .tflite file, or convert the model again"


def read_bytes(path: Path) -> bytes:
    """Return the content of a model file of at most `MAX_FILE_BYTES`.

    Raises:
        ModelFileError: `path` is missing, no regular file, too large or not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(path, "it is not a file", "name a .tflite file")
        if status.st_size > MAX_FILE_BYTES:
            raise ModelFileError(
                path, f"{status.st_size} bytes", f"give a file of at most {MAX_FILE_BYTES} bytes"
            )
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ModelFileError(path, "no such file", "check the name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(path, f"not readable ({reason})", "check the file") from error


def read_document(source: bytes | Path, *, subject: object | None = None) -> Document:
    """Check a model file from end to end and return what it holds.

    Args:
        source: the file's content, or its path.
        subject: what errors call the file when `source` is bytes.

    Raises:
        ModelFileError: the file is missing, truncated, hostile or no TFLite model. No other
            exception leaves this function, whatever the bytes are.
    """
    if isinstance(source, Path):
        subject, content = source, read_bytes(source)
    else:
        subject, content = subject or "model", source
    try:
        return _document(content)
    except MalformedError as error:
        raise ModelFileError(subject, str(error), _REMEDY) from None


def _document(content: bytes) -> Document:
    if len(content) > MAX_FILE_BYTES:
        raise MalformedError(f"it has more than {MAX_FILE_BYTES} bytes")
    if not content:
        raise MalformedError("it is empty")
    if len(content) < 8 or content[4:8] != schema.FILE_IDENTIFIER:
        raise MalformedError("it is not a TFLite model (identifier TFL3 is missing)")
    walker = Walker(memoryview(content))
    model = walker.table(walker.follow(0, "the model"), "the model")
    version = model.number(Slot.MODEL_VERSION, "I")
    if version != schema.SCHEMA_VERSION:
        raise MalformedError(f"schema version {version}, not {schema.SCHEMA_VERSION}")
    buffers = [
        _buffer(walker, table) for table in model.children(Slot.MODEL_BUFFERS, "buffers", MAX_ITEMS)
    ]
    opcodes = [
        _opcode(table)
        for table in model.children(Slot.MODEL_OPERATOR_CODES, "operator codes", MAX_ITEMS)
    ]
    subgraphs = tuple(
        _subgraph(table, opcodes, buffers)
        for table in model.children(Slot.MODEL_SUBGRAPHS, "subgraphs", MAX_SUBGRAPHS)
    )
    if not subgraphs:
        raise MalformedError("it holds no graph")
    if not buffers:
        walker.warnings.append("it has no list of buffers")
    elif len(buffers[0]):
        walker.warnings.append(
            f"its buffer 0 holds {counted(len(buffers[0]), 'byte')}: runtimes take it for empty"
        )
    metadata = _metadata(model, buffers)
    if OWN_METADATA in metadata:
        check_archive(walker.data)
    return Document(
        size=len(content),
        version=version,
        description=model.text(Slot.MODEL_DESCRIPTION, "the description"),
        subgraphs=subgraphs,
        metadata=metadata,
        warnings=tuple(walker.warnings),
        misfits=tuple(walker.misfits),
    )


def _buffer(walker: Walker, table: Table) -> memoryview:
    """Return the bytes of one buffer: inline, or behind the flatbuffer for large models."""
    inline = table.span(Slot.BUFFER_DATA, "buffer data")
    offset = table.number(Slot.BUFFER_OFFSET, "Q")
    size = table.number(Slot.BUFFER_SIZE, "Q")
    # The schema keeps 0 and 1 for "not used" in files that are still being written.
    if len(inline) or offset <= 1:
        return inline
    walker.check(offset, size, "buffer data")
    return walker.data[offset : offset + size]


def _opcode(table: Table) -> tuple[str, int, str]:
    """Return name, version and custom code of one operator code."""
    number = table.number(Slot.OPCODE_BUILTIN, "i")
    old = table.number(Slot.OPCODE_DEPRECATED_BUILTIN, "b")
    if number < 0 or old < 0:
        raise MalformedError(f"operator code {min(number, old)} does not exist")
    # Old writers fill only the 8-bit field, new ones both (127 there for what is greater).
    code = max(number, old)
    known = code < len(schema.BUILTIN_OPERATORS)
    name = schema.BUILTIN_OPERATORS[code] if known else f"UNKNOWN_{code}"
    custom = table.text(Slot.OPCODE_CUSTOM, "a custom operator's name")
    version = table.number(Slot.OPCODE_VERSION, "i", default=1)
    return name, version, custom if code == schema.CUSTOM_OPERATOR else ""


def _metadata(model: Table, buffers: list[memoryview]) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    for entry in model.children(Slot.MODEL_METADATA, "metadata", MAX_ITEMS):
        name = entry.text(Slot.METADATA_NAME, "a metadata name")
        number = entry.number(Slot.METADATA_BUFFER, "I")
        if number >= len(buffers):
            raise MalformedError(f"metadata {name[:60]!r} names buffer {number}, which is missing")
        found.setdefault(name, buffers[number])
    return found


def _subgraph(
    table: Table, opcodes: list[tuple[str, int, str]], buffers: list[memoryview]
) -> Subgraph:
    tensors = tuple(
        _tensor(child, buffers)
        for child in table.children(Slot.SUBGRAPH_TENSORS, "tensors", MAX_ITEMS)
    )
    operators = tuple(
        _operator(child, opcodes, tensors)
        for child in table.children(Slot.SUBGRAPH_OPERATORS, "operators", MAX_ITEMS)
    )
    return Subgraph(
        name=table.text(Slot.SUBGRAPH_NAME, "a graph's name"),
        tensors=tensors,
        operators=operators,
        inputs=_indices(table, Slot.SUBGRAPH_INPUTS, len(tensors), "graph inputs"),
        outputs=_indices(table, Slot.SUBGRAPH_OUTPUTS, len(tensors), "graph outputs"),
    )


def _indices(
    table: Table, slot: int, count: int, what: str, *, optional: bool = False
) -> tuple[int, ...]:
    numbers = table.integers(slot, "i", what)
    lowest = -1 if optional else 0
    for number in numbers:
        if not lowest <= number < count:
            raise MalformedError(f"{what} name tensor {number} of {count}")
    return numbers


def _tensor(table: Table, buffers: list[memoryview]) -> Tensor:
    name = table.text(Slot.TENSOR_NAME, "a tensor's name")
    label = f"tensor {name[:60]!r}"
    code = table.number(Slot.TENSOR_TYPE, "b")
    if code not in schema.TENSOR_TYPES:
        raise MalformedError(f"{label} has the unknown type {code}")
    dtype, bits = schema.TENSOR_TYPES[code]
    shape = table.integers(Slot.TENSOR_SHAPE, "i", "a tensor's shape")
    nbytes = _nbytes(shape, bits, label)
    data = _data(table, buffers, label)
    dense = bits > 0 and not table.has(Slot.TENSOR_SPARSITY)
    if len(data) and dense and len(data) != nbytes:
        finding = f"{label} needs {counted(nbytes, 'byte')}, its buffer holds {len(data)}"
        if len(data) < nbytes:
            raise MalformedError(finding)
        table.walker.warnings.append(f"{finding}: the rest is not used")
    scales, zero_points, axis = _quantisation(table, shape, label)
    return Tensor(
        name=name,
        shape=shape,
        dtype=dtype,
        scales=scales,
        zero_points=zero_points,
        axis=axis,
        is_constant=len(data) > 0 or table.number(Slot.TENSOR_EXTERNAL_BUFFER, "I") > 0,
        is_variable=table.number(Slot.TENSOR_IS_VARIABLE, "B") != 0,
        nbytes=nbytes,
        values=_values(data, dtype),
    )


def _data(table: Table, buffers: list[memoryview], label: str) -> memoryview:
    """Return a constant's bytes; none for what is computed.

    Buffer 0 stands for "no values": runtimes do not look at it, so it may be missing or hold
    anything.
    """
    number = table.number(Slot.TENSOR_BUFFER, "I")
    if number == 0:
        return memoryview(b"")
    if number >= len(buffers):
        raise MalformedError(f"{label} names buffer {number}, which is missing")
    return buffers[number]


def _values(data: memoryview, dtype: str) -> tuple[int, ...] | None:
    """Return a short constant int32 vector or table, row by row; else None."""
    if dtype != "INT32" or not len(data) or len(data) > MAX_VALUES_BYTES or len(data) % 4:
        return None
    return struct.unpack(f"<{len(data) // 4}i", data)


def _nbytes(shape: tuple[int, ...], bits: int, label: str) -> int:
    if len(shape) > MAX_RANK:
        raise MalformedError(f"{label} has {len(shape)} dimensions")
    if any(size < 0 for size in shape):
        raise MalformedError(f"{label} has a negative dimension")
    nbytes = (math.prod(shape) * bits + 7) // 8
    if nbytes > MAX_TENSOR_BYTES:
        raise MalformedError(f"{label} would need {nbytes} bytes")
    return nbytes


def _quantisation(
    table: Table, shape: tuple[int, ...], label: str
) -> tuple[tuple[float, ...], tuple[int, ...], int | None]:
    """Return scales, zero points and axis; what does not fit the shape is a misfit."""
    details = table.child(Slot.TENSOR_QUANTIZATION, "quantisation")
    if details is None:
        return (), (), None
    scales = details.numbers(Slot.QUANTIZATION_SCALE, "f", "scales")
    if not all(math.isfinite(scale) and scale >= 0 for scale in scales):
        raise MalformedError(f"{label} has a scale that is negative or not finite")
    zero_points = details.integers(Slot.QUANTIZATION_ZERO_POINT, "q", "zero points")
    if not scales:
        return (), (), None
    zero_points = zero_points or (0,) * len(scales)
    if len(zero_points) == 1:
        zero_points *= len(scales)
    misfits = table.walker.misfits
    if len(zero_points) != len(scales):
        misfits.append(f"{label}: {len(scales)} scales but {len(zero_points)} zero points")
    if len(scales) == 1:
        return scales, zero_points, None
    axis = details.number(Slot.QUANTIZATION_AXIS, "i")
    if not 0 <= axis < len(shape) or shape[axis] != len(scales):
        misfits.append(f"{label}: {len(scales)} scales do not fit axis {axis} of {shape}")
    return scales, zero_points, axis


def _operator(
    table: Table, opcodes: list[tuple[str, int, str]], tensors: tuple[Tensor, ...]
) -> Operator:
    number = table.number(Slot.OPERATOR_OPCODE, "I")
    if number >= len(opcodes):
        raise MalformedError(f"an operator uses code {number} of {len(opcodes)}")
    name, version, custom = opcodes[number]
    count = len(tensors)
    inputs = _indices(table, Slot.OPERATOR_INPUTS, count, f"inputs of {name}", optional=True)
    outputs = _indices(table, Slot.OPERATOR_OUTPUTS, count, f"outputs of {name}", optional=True)
    options = _options(name, table)
    reads, makes = (
        [tensors[index] if index >= 0 else None for index in numbers]
        for numbers in (inputs, outputs)
    )
    macs = count_macs(name, reads, makes, adjoint_x=options.get("adj_x", 0) != 0)
    return Operator(name, version, inputs, outputs, custom, macs, options)


def _options(name: str, table: Table) -> dict[str, int]:
    """Return the options that `schema.OPERATOR_OPTIONS` names, defaults where absent."""
    fields = schema.OPERATOR_OPTIONS.get(name)
    if fields is None:
        return {}
    options = table.child(Slot.OPERATOR_OPTIONS, "operator options")
    if options is None:
        return {field: default for field, (_, _, default) in fields.items()}
    return {
        field: options.number(slot, code, default)
        for field, (slot, code, default) in fields.items()
    }
