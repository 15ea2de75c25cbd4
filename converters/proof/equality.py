"""The specification, in NumPy, against kernels, at every tensor.

The default kernels are compared with XNNPACK's arithmetic, the reference kernels with their own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.errors import ConversionError
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.twin import Twin

Views = NDArray[np.uint8]
Outputs = tuple[NDArray[np.int8], ...]
"""Logits (N, classes), and features (N, width), of N images."""
Specification = Literal["reference", "xnnpack"]

_CHUNK_PIXELS = 20 * 96 * 96  # of the images whose tensors are all held at once
_PROCESSES = 2
_MOST_IMAGES = 50  # of one child, which has a time limit; slow machines take seconds an image
TITLES = {"reference": "the reference kernels", "xnnpack": "the default kernels"}


@dataclass(frozen=True)
class Equality:
    """An arithmetic, computed by NumPy, against the kernels that are to compute it.

    Attributes:
        arithmetic: ``"xnnpack"`` on the default kernels, ``"reference"`` on theirs.
        images: images compared, at every tensor.
        tensors: activations compared per image.
        unequal: tensor name → images in which any of its bytes differs; empty if proven.
        outputs: of the images, of NumPy.
        kernels: what ran, in words.
    """

    arithmetic: Specification
    images: int
    tensors: int
    unequal: dict[str, int]
    outputs: Outputs
    kernels: str

    def require(self) -> None:
        """Refuse a file of which anything differs.

        Raises:
            ConversionError: naming the first tensor.
        """
        if not self.unequal:
            return
        name, count = next(iter(self.unequal.items()))
        raise ConversionError(
            "converted model",
            f"{len(self.unequal)} of {self.tensors} tensors differ from the integer specification "
            f"on {TITLES[self.arithmetic]}, first {name} in {count} images",
            "report this as a bug",
        )


def prove_equal(graph: Graph, model: bytes, views: Views, arithmetic: Specification) -> Equality:
    """Compare a file's tensors with what NumPy makes of its graph, on some images.

    The kernels run in child processes: they abort on models they do not expect.

    Args:
        graph: the integer graph.
        model: the file written from it.
        views: (N, h, w, channels) uint8 inputs.
        arithmetic: which, on the kernels that are to compute it.

    Raises:
        ModelFileError: the kernels crashed, or XNNPACK takes other partitions where inner
            tensors are outputs.
    """
    # Dealt out like cards: what is slow comes to every child.
    hands = min(len(views), max(_PROCESSES, -(-len(views) // _MOST_IMAGES)))
    parts = [views[n::hands] for n in range(hands)]
    with ThreadPoolExecutor(_PROCESSES) as pool:
        results = list(
            pool.map(
                lambda part: run_in_child(
                    "converted model", compare_tensors, graph, model, part, arithmetic
                ),
                parts,
            )
        )
    unequal: dict[str, int] = {}
    for result in results:
        for name, count in result.unequal.items():
            unequal[name] = unequal.get(name, 0) + count
    first = results[0]
    outputs = tuple(np.empty((len(views), part.shape[1]), np.int8) for part in first.outputs)
    for n, result in enumerate(results):
        for whole, part in zip(outputs, result.outputs, strict=True):
            whole[n::hands] = part
    return Equality(arithmetic, len(views), first.tensors, unequal, outputs, first.kernels)


def compare_tensors(
    graph: Graph, model: bytes, views: Views, arithmetic: Specification
) -> Equality:
    """Do the work of `prove_equal` in this process."""
    kernels = Kernels.REFERENCE if arithmetic == "reference" else Kernels.AUTO
    interpreter = Interpreter(model, kernels=kernels, keep_all_tensors=kernels != Kernels.AUTO)
    if arithmetic == "xnnpack" and not interpreter.partitions:
        raise ConversionError(
            "converted model",
            "XNNPACK is off on this machine, so what it computes cannot be proved",
            "convert where /sys can be read, on x86-64 or arm64",
        )
    every = every_tensor(model, interpreter)
    given, taken = graph.inputs[0].name, [tensor.name for tensor in graph.outputs]
    unequal: dict[str, int] = {}
    chunks: list[Outputs] = []
    compared: set[str] = set()
    for chunk in _chunks(views):
        expected = run_reference(graph, {given: chunk}, arithmetic=arithmetic, keep_all=True)
        del expected[given]
        chunks.append(tuple(expected[name].reshape(len(chunk), -1) for name in taken))
        for index, view in enumerate(chunk):
            answers, kept = interpreter.invoke_all(view), every(view)
            different = {n for n, v in expected.items() if not _same(kept[n], v[index])}
            for name, answer in zip(taken, answers, strict=True):
                if not _same(answer, expected[name][index]):
                    different.add(name)
            for name in different:
                unequal[name] = unequal.get(name, 0) + 1
        compared.update(expected)
    ordered = {name: unequal[name] for name in compared_in_order(graph) if name in unequal}
    outputs = tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return Equality(
        arithmetic, len(views), len(compared), ordered, outputs, interpreter.kernels_used
    )


def _same(kept: Array, expected: Array) -> bool:
    """Compare one image's tensor, whose leading dimension of 1 a vector does not have."""
    return np.array_equal(kept.reshape(expected.shape), expected)


def compared_in_order(graph: Graph) -> list[str]:
    """Return the names of what operations make, in their order."""
    return [operation.name for operation in graph.operations]


def every_tensor(model: bytes, interpreter: Interpreter) -> Callable[[Views], dict[str, Array]]:
    """Return what gives every tensor of the image that the interpreter ran last."""
    if interpreter.kernels is Kernels.AUTO:
        return Twin(model, interpreter).tensors
    return lambda _: interpreter.tensors()


def _chunks(views: Views) -> list[Views]:
    """Split images into parts small enough for all tensors of a part to be held at once."""
    size = max(1, _CHUNK_PIXELS // (views.shape[1] * views.shape[2]))
    return [views[start : start + size] for start in range(0, len(views), size)]


def default_outputs(model: bytes, views: Views, advance: Callable[[], None]) -> tuple[Outputs, str]:
    """Run the file on the default kernels; returns its outputs and what ran."""
    rows = []
    with open_isolated(model, subject="converted model") as interpreter:
        for view in views:
            rows.append([output.ravel() for output in interpreter.invoke_all(view)])
            advance()
    return tuple(map(np.stack, zip(*rows, strict=True))), interpreter.kernels_used


def equal_outputs(first: Outputs, second: Outputs) -> bool:
    """Tell whether logits and features of the same images are the same bytes."""
    return len(first) == len(second) and all(map(np.array_equal, first, second))
