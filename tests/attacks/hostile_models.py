"""Hostile `.tflite` files: each one broken in one way, made from a good model.

`hostile_models(good)` gives name → (bytes, words that the finding must contain).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _edited(good: bytes, edit: Callable[[Any], None]) -> bytes:
    """Change the unpacked model with `edit` and pack it again."""
    from ai_edge_litert import schema_py_generated as s

    model = s.ModelT.InitFromObj(s.Model.GetRootAs(good, 0))
    edit(model)
    return _packed(model)


def _patched(good: bytes, position: int, layout: str, value: int) -> bytes:
    broken = bytearray(good)
    struct.pack_into(layout, broken, position, value)
    return bytes(broken)


def _vtable(good: bytes) -> int:
    root = struct.unpack_from("<I", good, 0)[0]
    return root - struct.unpack_from("<i", good, root)[0]


def _field(good: bytes, slot: int) -> int:
    """Position of the offset field `slot` of the root table."""
    root = struct.unpack_from("<I", good, 0)[0]
    return root + struct.unpack_from("<H", good, _vtable(good) + 4 + 2 * slot)[0]


def _vector(good: bytes, slot: int) -> int:
    """Position of the length of the vector in field `slot` of the root table."""
    position = _field(good, slot)
    return position + struct.unpack_from("<I", good, position)[0]


def amplified() -> bytes:
    """A few hundred kilobytes that unfold to gigabytes.

    Fifty thousand operators are one and the same table, with one long list of inputs.
    """
    count, inputs = 50_000, 50_000
    body = bytearray(b"\0\0\0\0TFL3")

    def put(data: bytes) -> int:
        body.extend(b"\0" * (-len(body) % 4))
        position = len(body)
        body.extend(data)
        return position

    def table(fields: dict[int, int]) -> int:
        """Write a table of 4-byte fields; values are filled with `point` afterwards."""
        slots = max(fields) + 1
        offsets = [4 + 4 * list(fields).index(i) if i in fields else 0 for i in range(slots)]
        vtable = put(struct.pack(f"<{2 + slots}H", 4 + 2 * slots, 4 + 4 * len(fields), *offsets))
        position = len(body) + (-len(body) % 4)
        values = list(fields.values())
        return put(struct.pack(f"<i{len(values)}I", position - vtable, *values))

    def point(at: int, target: int) -> None:
        struct.pack_into("<I", body, at, target - at)

    root = table({0: 3, 1: 0, 2: 0})
    struct.pack_into("<I", body, 0, root)
    codes = put(struct.pack("<II", 1, 0))
    code = table({3: 0})
    graphs = put(struct.pack("<II", 1, 0))
    graph = table({3: 0})
    operators = put(struct.pack(f"<I{count}I", count, *[0] * count))
    operator = table({1: 0})
    indices = put(struct.pack("<I", inputs) + struct.pack("<i", -1) * inputs)
    point(root + 8, codes)
    point(root + 12, graphs)
    point(codes + 4, code)
    point(graphs + 4, graph)
    point(graph + 4, operators)
    for number in range(count):
        point(operators + 4 + 4 * number, operator)
    point(operator + 4, indices)
    return bytes(body)


def hostile_models(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Return the broken files by name, with words their finding must contain."""
    noise = random.Random(0).randbytes(4096)
    root = struct.unpack_from("<I", good, 0)[0]
    files: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "empty"),
        "seven bytes": (good[:7], "TFL3"),
        "zeros": (bytes(4096), "TFL3"),
        "noise": (noise, "TFL3"),
        "noise behind the identifier": (noise[:4] + b"TFL3" + noise[8:], "outside|broken"),
        "text": (b"#!/bin/sh\necho this is not a model\n", "TFL3"),
        "onnx header": (b"\x08\x07\x12\x07pytorch" + bytes(64), "TFL3"),
        "other identifier": (good[:4] + b"TFL2" + good[8:], "TFL3"),
        "header only": (good[:8], "outside"),
        "first half": (good[: len(good) // 2], "outside"),
        "root at zero": (_patched(good, 0, "<I", 0), "broken offset"),
        "root off alignment": (_patched(good, 0, "<I", root + 1), "broken offset"),
        "root far outside": (_patched(good, 0, "<I", 0xFFFFFFFC), "outside"),
        "root at the last bytes": (_patched(good, 0, "<I", (len(good) - 4) & ~3), "outside|broken"),
        "field list before the file": (_patched(good, root, "<i", 0x7FFFFFFF), "outside"),
        "field list behind the file": (_patched(good, root, "<i", -0x7FFFFFFF), "outside"),
        "field list without length": (_patched(good, _vtable(good), "<H", 0), "field list"),
        "field list too long": (_patched(good, _vtable(good), "<H", 0xFFFE), "outside"),
        "table too long": (_patched(good, _vtable(good) + 2, "<H", 0xFFFF), "outside"),
        "field outside its table": (
            _patched(good, _vtable(good) + 4, "<H", 0xFFF0),
            "field outside itself",
        ),
        "four billion buffers": (_patched(good, _vector(good, 4), "<I", 0xFFFFFFFF), "outside"),
        "two hundred graphs": (_patched(good, _vector(good, 2), "<I", 200), "graph|points|broken"),
        "graphs are the model": (
            _patched(good, _vector(good, 2) + 4, "<I", 0),
            "broken offset",
        ),
        "shared tables unfold": (amplified(), "unfolds"),
    }

    def add(name: str, finding: str, edit: Callable[[Any], None]) -> None:
        files[name] = (_edited(good, edit), finding)

    def first(model: Any) -> Any:
        return model.subgraphs[0]

    def tensor(model: Any, name: bytes) -> Any:
        return next(entry for entry in first(model).tensors if entry.name == name)

    def put(owner: Callable[[Any], Any], field: str, value: Any) -> Callable[[Any], None]:
        return lambda model: setattr(owner(model), field, value)

    def kernel(model: Any) -> Any:
        return tensor(model, b"kernel")

    def scales(model: Any) -> Any:
        return kernel(model).quantization

    def ints(*values: int) -> Any:
        return np.array(values, np.int32)

    add("schema version 9", "schema version 9", lambda m: setattr(m, "version", 9))
    add("no graph", "no graph", lambda m: setattr(m, "subgraphs", []))
    add("missing buffer", "buffer 999", put(kernel, "buffer", 999))
    add("unknown type", "unknown type 99", put(kernel, "type", 99))
    add("negative size", "negative dimension", put(kernel, "shape", ints(3, -1, 1, 3)))
    add("huge size", "would need", put(kernel, "shape", ints(*[2**31 - 1] * 4)))
    add("too many dimensions", "17 dimensions", put(kernel, "shape", ints(*[1] * 17)))
    add("short constant", "its buffer holds", put(kernel, "shape", ints(3, 5, 5, 3)))
    for name, value in (("not a number", np.nan), ("infinite", np.inf), ("negative", -1.0)):
        broken = np.array([1, value, 1], np.float32)
        add(f"{name} scale", "scale that is", put(scales, "scale", broken))
    add("too many scales", "4 scales but 3", put(scales, "scale", np.ones(4, np.float32)))
    add("scale axis outside", "do not fit axis", put(scales, "quantizedDimension", 7))
    add("negative axis", "do not fit axis", put(scales, "quantizedDimension", -1))
    add("two zero points", "2 zero points", put(scales, "zeroPoint", np.zeros(2, np.int64)))
    add("graph input missing", "graph inputs", put(first, "inputs", ints(77)))
    add("graph output negative", "graph outputs", put(first, "outputs", ints(-1)))

    def operator(model: Any) -> Any:
        return first(model).operators[0]

    add("operator input missing", "inputs of", put(operator, "inputs", ints(50)))
    add("operator output missing", "outputs of", put(operator, "outputs", ints(-2)))
    add("operator code missing", "uses code 44", put(operator, "opcodeIndex", 44))

    def code(model: Any) -> Any:
        return model.operatorCodes[0]

    add("negative operator code", "does not exist", put(code, "builtinCode", -5))

    def metadata(model: Any) -> None:
        from ai_edge_litert import schema_py_generated as s

        entry = s.MetadataT()
        entry.name, entry.buffer = b"QLVIT_EDGE", 1000
        model.metadata = [entry]

    add("metadata without buffer", "names buffer 1000", metadata)

    def outside(model: Any) -> None:
        buffer = model.buffers[kernel(model).buffer]
        buffer.data, buffer.offset, buffer.size = None, 2**63, 2**63

    add("weights far outside", "outside", outside)
    return files
