"""Hostile inputs by the thousand: real model files, changed in every way that hurts a reader."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from hostile_models import hostile_models
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge import bundled
from qlvit_edge.modelfile.metadata import OWN_METADATA, embed

_WORDS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF)
INTERESTING = (*_WORDS, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)


class Mutator:
    """Makes inputs from seeds; the same number gives the same inputs.

    Attributes:
        seeds: small files, large ones (with real weights) and hostile ones.
    """

    def __init__(self, seed: int) -> None:
        """Load the files that inputs are made from."""
        self._random = random.Random(seed)
        own = embed(tiny_model(), metadata(golden=False))
        plain = tiny_model()
        self.small = [own, plain, tiny_model(floating=True), tiny_model(softmax=True)]
        self.large = [path.read_bytes() for path in sorted(bundled.FOLDER.glob("*/*.tflite"))]
        self.hostile = [content for content, _ in hostile_models(plain).values()]
        self.seeds = [*self.small, *self.large, *self.hostile]

    def next(self) -> bytes:
        """Return one more input."""
        chance = self._random.random()
        if chance < 0.05:
            return self._noise()
        if chance < 0.15:
            return self._edited()
        pool = self.large if chance < 0.17 else self.hostile if chance < 0.3 else self.small
        content = bytearray(self._random.choice(pool))
        for _ in range(self._random.choice((1, 1, 1, 2, 4, 16))):
            self._random.choice(BYTES)(self._random, content)
        if chance > 0.95:
            other = self._random.choice(self.small)
            cut = self._random.randrange(len(other))
            content[self._random.randrange(len(content) + 1) :] = other[cut:]
        return bytes(content)

    def _noise(self) -> bytes:
        noise = self._random.randbytes(self._random.randrange(2000))
        return noise[:4].ljust(4, b"\0") + b"TFL3" + noise[4:]

    def _edited(self) -> bytes:
        """Change fields of a small model by name and write it again."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as s

        content = self._random.choice(self.small)
        model: Any = s.ModelT.InitFromObj(s.Model.GetRootAs(content, 0))
        for _ in range(self._random.choice((1, 1, 2, 3))):
            if model.subgraphs:
                self._random.choice(_FIELDS)(self._random, model)
        builder = flatbuffers.Builder(1024)
        try:
            builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        except (struct.error, TypeError, flatbuffers.builder.BuilderNotFinishedError):
            return self.next()
        return bytes(builder.Output()) + content[len(content) - self._random.choice((0, 200)) :]


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _word(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 4:
        at = 4 * rng.randrange(len(data) // 4)
        struct.pack_into("<I", data, at, rng.choice(INTERESTING))


def _half(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 2:
        at = 2 * rng.randrange(len(data) // 2)
        struct.pack_into("<H", data, at, rng.choice(INTERESTING) & 0xFFFF)


def _offset(rng: random.Random, data: bytearray) -> None:
    """Make a word an offset into the file: shared tables, circles, strings as tables."""
    if len(data) >= 8:
        at = 4 * rng.randrange(len(data) // 4)
        target = 4 * rng.randrange(len(data) // 4)
        struct.pack_into("<I", data, at, (target - at) & 0xFFFFFFFF)


def _nudge(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 4:
        at = 4 * rng.randrange(len(data) // 4)
        value = struct.unpack_from("<I", data, at)[0] + rng.randrange(-8, 9)
        struct.pack_into("<I", data, at, value & 0xFFFFFFFF)


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _block(rng: random.Random, data: bytearray) -> None:
    """Copy, zero, delete or insert a run of bytes."""
    if not data:
        return
    at, count = rng.randrange(len(data)), rng.randrange(1, 64)
    to = rng.randrange(len(data))
    choice = rng.randrange(4)
    if choice == 0:
        data[to : to + count] = data[at : at + count]
    elif choice == 1:
        data[at : at + count] = bytes(len(data[at : at + count]))
    elif choice == 2:
        del data[at : at + count]
    else:
        data[at:at] = rng.randbytes(count)


BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _word,
    _half,
    _offset,
    _nudge,
    _truncate,
    _block,
)


def _int32(rng: random.Random) -> int:
    value = rng.choice(INTERESTING)
    return value - 2**32 if value >= 2**31 else value


def _shape(rng: random.Random, model: Any) -> None:
    tensor = rng.choice(model.subgraphs[0].tensors)
    tensor.shape = np.array([_int32(rng) for _ in range(rng.randrange(20))], np.int32)


def _type(rng: random.Random, model: Any) -> None:
    rng.choice(model.subgraphs[0].tensors).type = rng.randrange(-128, 128)


def _buffer(rng: random.Random, model: Any) -> None:
    rng.choice(model.subgraphs[0].tensors).buffer = rng.choice(INTERESTING)


def _scales(rng: random.Random, model: Any) -> None:
    details = rng.choice(model.subgraphs[0].tensors).quantization
    if details is None:
        return
    odd = (0.0, -0.0, -1.0, 1e-45, 3e38, np.inf, np.nan, 1.0)
    count = rng.choice((0, 1, 2, 3, 100))
    details.scale = np.array([rng.choice(odd) for _ in range(count)], np.float32)
    if rng.random() < 0.5:
        points = [_int32(rng) * rng.choice((1, 2**32 - 1)) for _ in range(rng.choice((1, count)))]
        details.zeroPoint = np.array(points, np.int64)
    details.quantizedDimension = rng.choice((0, 1, 3, -1, _int32(rng)))


def _indices(rng: random.Random, model: Any) -> None:
    graph = model.subgraphs[0]
    owner = rng.choice([graph, *graph.operators])
    numbers = [rng.choice((*range(-2, 12), _int32(rng))) for _ in range(rng.randrange(8))]
    setattr(owner, rng.choice(("inputs", "outputs")), np.array(numbers, np.int32))


def _operator(rng: random.Random, model: Any) -> None:
    code = rng.choice(model.operatorCodes)
    code.builtinCode = rng.choice((*range(-1, 240), _int32(rng)))
    code.deprecatedBuiltinCode = rng.randrange(-128, 128)
    code.customCode = rng.choice((None, b"", b"edgetpu-custom-op", b"\xff\xfe" * 40))


def _names(rng: random.Random, model: Any) -> None:
    text = rng.choice((b"", b"\xff\0\n" * 50, b"a\x1b[2J", "ä\n".encode() * 10))
    rng.choice([model.subgraphs[0], *model.subgraphs[0].tensors]).name = text


def _graphs(rng: random.Random, model: Any) -> None:
    model.subgraphs = model.subgraphs * rng.choice((0, 2, 3))


def _own_metadata(rng: random.Random, model: Any) -> None:
    """Damage the JSON of our own metadata, or the number of its buffer."""
    entries = [e for e in model.metadata or [] if e.name == OWN_METADATA.encode()]
    if not entries:
        return
    if rng.random() < 0.2 or entries[0].buffer >= len(model.buffers):
        entries[0].buffer = rng.choice(INTERESTING)
        return
    buffer = model.buffers[entries[0].buffer]
    text = bytearray(bytes(buffer.data))
    for _ in range(rng.choice((1, 1, 4))):
        rng.choice((_flip, _block, _truncate))(rng, text)
    if rng.random() < 0.1:
        text = bytearray(rng.choice((b"[" * 5000, b'{"a":' * 5000, b"1e999", b'"\\ud800"')))
    buffer.data = np.frombuffer(bytes(text), np.uint8)


_FIELDS: tuple[Callable[[random.Random, Any], None], ...] = (
    _shape,
    _type,
    _buffer,
    _scales,
    _indices,
    _operator,
    _names,
    _graphs,
    _own_metadata,
)
