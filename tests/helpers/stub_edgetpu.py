"""An Edge TPU's library compiled for a test, what tells it how to behave, and a chain for it."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as s
from fake_edgetpu_compiler import compiled
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain import write_chain
from qlvit_edge.modelfile.chain_description import Border, ChainDescription, ChainSegment

_SOURCE = Path(__file__).parent / "stub_edgetpu.c"
_KEPT = tempfile.TemporaryDirectory(prefix="stub-edgetpu-")


@functools.cache
def library() -> Path:
    """Compile the stub, once per process, and return it."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    path = Path(_KEPT.name) / "libedgetpu.so.1"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", str(path), str(_SOURCE)], check=True, timeout=60
    )
    return path


class Stick:
    """The stub's Edge TPU.

    Attributes:
        library: the compiled library.
        file: what tells it how to behave.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, mood: str = "work") -> None:
        self.library, self.file = library(), folder / "stick"
        monkeypatch.setenv("STUB_EDGETPU", str(self.file))
        self.is_told(mood)

    def is_told(self, mood: str) -> None:
        """Let it behave so from now on; see `stub_edgetpu.c`."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{mood}\n")
        new.replace(self.file)

    def is_unplugged(self) -> None:
        """Take it away."""
        self.file.unlink()

    @property
    def options(self) -> list[str]:
        """What it was told when it was opened, each time."""
        return self.file.with_name("stick.options").read_text().splitlines()


def tiny_chain(path: Path, *, name: str = "tiny") -> Path:
    """Write a chain of two segments: one that the Edge TPU copies, and the tiny model; return it.

    Its golden pairs are those of the tiny model.
    """
    first, second = _copying(), tiny_model()
    segments = [
        _segment("0.tflite", first, ("picture", "image"), "tpu"),
        _segment("1.tflite", second, ("image", "logits"), "cpu"),
    ]
    files = {"0.tflite": first, "1.tflite": second}
    files["0_edgetpu.tflite"], _ = compiled(first)
    digest = sha256(files["0_edgetpu.tflite"])
    twin = {"compiled": "0_edgetpu.tflite", "compiled_sha256": digest}
    segments[0] = segments[0].model_copy(update=twin)
    borders = [
        Border(name=end, shape=[1, 8, 8, 3], dtype="UINT8", scale=1.0, zero_point=0)
        for end in ("picture", "image")
    ]
    borders.append(Border(name="logits", shape=[1, 3], dtype="INT8", scale=2.0, zero_point=0))
    description = ChainDescription(
        segments=segments,
        borders=borders,
        input="picture",
        output="logits",
        round_trips=1,
        border_bytes=384,
        tpu_macs_share=0.0,
        model=metadata().model_copy(update={"name": name}),
    )
    path.write_bytes(write_chain(description, files))
    return path


def _segment(name: str, content: bytes, ends: tuple[str, str], device: Any) -> ChainSegment:
    return ChainSegment(
        file=name,
        sha256=sha256(content),
        device=device,
        inputs=[ends[0]],
        outputs=[ends[1]],
        operators=1,
        macs=0,
        parameter_bytes=0,
    )


def _copying() -> bytes:
    """A model that gives the picture as it is: one RESHAPE to the shape that it has."""
    tree: Any = s.ModelT.InitFromObj(s.Model.GetRootAs(tiny_model(), 0))
    graph = tree.subgraphs[0]
    image = graph.tensors[graph.inputs[0]]
    graph.tensors = [image, s.TensorT.InitFromObj(_root_tensor()), _shape_tensor(tree)]
    graph.tensors[0].name, graph.tensors[1].name = b"picture", b"image"
    code = s.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = s.BuiltinOperator.RESHAPE
    code.version = 1
    operator = s.OperatorT()
    operator.inputs, operator.outputs = np.array([0, 2], np.int32), np.array([1], np.int32)
    operator.builtinOptionsType = s.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = s.ReshapeOptionsT()
    operator.builtinOptions.newShape = np.array([1, 8, 8, 3], np.int32)
    tree.operatorCodes, graph.operators = [code], [operator]
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([1], np.int32)
    return _packed(tree)


def _root_tensor() -> Any:
    graph = s.Model.GetRootAs(tiny_model(), 0).Subgraphs(0)
    return graph.Tensors(graph.Inputs(0))


def _shape_tensor(tree: Any) -> Any:
    shape, buffer = s.TensorT(), s.BufferT()
    buffer.data = np.frombuffer(np.array([1, 8, 8, 3], np.int32).tobytes(), np.uint8)
    shape.name, shape.type = b"shape", s.TensorType.INT32
    shape.shape, shape.buffer = np.array([4], np.int32), len(tree.buffers)
    tree.buffers.append(buffer)
    return shape


def _packed(tree: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())
