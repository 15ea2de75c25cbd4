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


class _Bytes:
    """A flatbuffer written by hand, with offsets that may point anywhere."""

    def __init__(self) -> None:
        self.body = bytearray(b"\0\0\0\0TFL3")

    def put(self, data: bytes) -> int:
        """Append data at a multiple of 4; returns its position."""
        self.body.extend(b"\0" * (-len(self.body) % 4))
        self.body.extend(data)
        return len(self.body) - len(data)

    def table(self, *slots: int) -> int:
        """Append a table of 4-byte fields that are 0; their positions follow its own."""
        count = max(slots, default=-1) + 1
        offsets = [4 + 4 * slots.index(i) if i in slots else 0 for i in range(count)]
        extent = 4 + 4 * len(slots)
        vtable = self.put(struct.pack(f"<{2 + count}H", 4 + 2 * count, extent, *offsets))
        position = len(self.body) + (-len(self.body) % 4)
        return self.put(struct.pack("<i", position - vtable) + bytes(4 * len(slots)))

    def point(self, at: int, target: int) -> None:
        """Make the word at `at` an offset to `target`."""
        struct.pack_into("<I", self.body, at, target - at)

    def vector(self, count: int) -> int:
        """Append a vector of `count` offsets that point nowhere yet."""
        return self.put(struct.pack("<I", count) + bytes(4 * count))

    def fill(self, vector: int, target: int) -> None:
        """Make every entry of a vector an offset to one and the same table behind it."""
        (count,) = struct.unpack_from("<I", self.body, vector)
        for number in range(count):
            self.point(vector + 4 + 4 * number, target)

    def model(self, graphs: int, other: int, slot: int) -> tuple[int, int]:
        """Begin a model; returns its vectors of graphs and of what field `slot` holds."""
        root = self.table(0, *sorted((2, slot)))
        self.point(0, root)
        struct.pack_into("<I", self.body, root + 4, 3)
        first, second = self.vector(graphs), self.vector(other)
        before = slot < 2
        self.point(root + (12 if before else 8), first)
        self.point(root + (8 if before else 12), second)
        return first, second


def amplified() -> bytes:
    """A few hundred kilobytes that unfold to gigabytes.

    Fifty thousand operators are one and the same table, with one long list of inputs.
    """
    file, count = _Bytes(), 50_000
    graphs, codes = file.model(1, 1, slot=1)
    file.fill(codes, file.table())
    graph = file.table(3)
    file.fill(graphs, graph)
    operators = file.vector(count)
    file.point(graph + 4, operators)
    operator = file.table(1)
    file.fill(operators, operator)
    file.point(operator + 4, file.put(struct.pack("<I", count) + b"\xff" * 4 * count))
    return bytes(file.body)


def crowded() -> bytes:
    """Two hundred graphs that are one and the same, of fifty thousand tensors that are too."""
    file = _Bytes()
    graphs, buffers = file.model(200, 1, slot=4)
    file.fill(buffers, file.table())
    graph = file.table(0)
    file.fill(graphs, graph)
    tensors = file.vector(50_000)
    file.point(graph + 4, tensors)
    file.fill(tensors, file.table())
    return bytes(file.body)


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
        "shared graphs unfold": (crowded(), "unfolds"),
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
