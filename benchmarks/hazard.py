"""The int8 BATCH_MATMUL of Cortex-A57, A72 and A73, which wraps where both operands hold -128.

    python benchmarks/hazard.py

XNNPACK's kernel for these processors adds two products in int16 before it widens them:
(-128)(-128) + (-128)(-128) is 32 768, which int16 does not hold. A file of this converter has
right operands of -127 or more, for which the sum of two products fits: 2 · 128 · 127 = 32 512.
Prints as JSON how far the default kernels are from the specification, in steps of the output, for
operands full of -128, for the allowed extreme, and for random operands up to it.
"""

from __future__ import annotations

import json
import platform

import numpy as np

from qlvit_edge.converters.graph import Graph, Quantisation, Tensor
from qlvit_edge.converters.ops.matmul import BatchMatMul
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.inference.native import load_native, plan, run_native

ROWS, DEPTH, COLUMNS = 6, 32, 8


def product(adjoint: bool) -> Graph:
    """Return a graph of one product (ROWS, DEPTH) · (DEPTH, COLUMNS); adjoint: b transposed."""
    right = (COLUMNS, DEPTH) if adjoint else (DEPTH, COLUMNS)
    a = Tensor("a", (1, 1, ROWS, DEPTH), "int8", Quantisation((1.0,), 0))
    b = Tensor("b", (1, 1, *right), "int8", Quantisation((1.0,), 0))
    # The largest product, DEPTH · 128 · 128, is 128 steps of the output.
    operation = BatchMatMul(
        inputs=(a, b),
        name="y",
        quantisation=Quantisation((DEPTH * 128.0,), -1),
        adjoint_b=adjoint,
    )
    return Graph("hazard", (a, b), (operation.output,), (operation,))


def operands(graph: Graph, kind: str) -> dict[str, np.ndarray]:
    """Return operands by name: one value each, or random ones with -127 … 127 on the right."""
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}
    if kind == "random":
        draw = np.random.default_rng(0).integers
        return {
            "a": draw(-128, 128, shapes["a"]).astype(np.int8),
            "b": draw(-127, 128, shapes["b"]).astype(np.int8),
        }
    right = -128 if kind == "both -128" else -127
    return {"a": np.full(shapes["a"], -128, np.int8), "b": np.full(shapes["b"], right, np.int8)}


def distance(graph: Graph, inputs: dict[str, np.ndarray]) -> int:
    """Return how far the default kernels are from the specification, in steps."""
    native = load_native(write_tflite(graph), "hazard", Kernels.AUTO, "litert", 1)
    if not plan(native)[0]:
        raise SystemExit("error: XNNPACK does not run here")
    for detail in native.get_input_details():
        native.set_tensor(detail["index"], inputs[detail["name"]])
    run_native(native, "hazard")
    given = native.get_tensor(native.get_output_details()[0]["index"]).astype(np.int64)
    return int(np.abs(given - run_reference(graph, inputs, arithmetic="xnnpack")["y"]).max())


def main() -> None:
    """Print the distances as JSON."""
    graphs = [product(False), product(True)]
    kinds = ("both -128", "right operand -127", "random")
    found = {
        kind: max(distance(graph, operands(graph, kind)) for graph in graphs) for kind in kinds
    }
    print(json.dumps({"machine": platform.machine(), "steps": found}))


if __name__ == "__main__":
    main()
