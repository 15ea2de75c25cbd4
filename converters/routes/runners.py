"""Running a network in its runtimes; light enough to be imported by child processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.routes.closeness import Logits
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.native import load_runtime
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.memory import peak_memory
from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS

Kind = Literal["tflite", "onnx", "torch"]
_INFERENCES = 3
_AS_CONVERTED = Allowance(operators=ALLOWED_OPERATORS)
"""Files made just now may hold whatever a converter writes; those that run later may hold less."""


def file_logits(
    content: bytes, kernels: Kernels, views: NDArray[np.uint8]
) -> tuple[Logits, str, int]:
    """Return real logits (N, classes), the kernels that ran, and the delegate's parts."""
    interpreter = Interpreter(content, kernels=kernels, allowance=_AS_CONVERTED)
    rows = [
        interpreter.output.dequantise(interpreter.invoke(as_input(view, interpreter.input)))[0]
        for view in views
    ]
    return np.stack(rows), interpreter.kernels_used, interpreter.partitions


def runner(kind: Kind, path: Path) -> Callable[[NDArray[np.uint8]], Any]:
    """Load a network on one thread and return what runs it on one image (H, W, channels).

    Args:
        kind: of runtime.
        path: a `.tflite` or `.onnx` file, or for PyTorch the run folder.
    """
    if kind == "tflite":
        interpreter = Interpreter(path, allowance=_AS_CONVERTED)
        return lambda view: interpreter.invoke(as_input(view, interpreter.input))
    if kind == "onnx":
        from qlvit_edge.converters.routes.ort import INPUT, onnx_input, open_session

        session = open_session(path.read_bytes())
        return lambda view: session.run(None, {INPUT: onnx_input(view)})
    import torch

    from qlvit_edge.training.checkpoint import load_checkpoint
    from qlvit_edge.training.varying import to_input

    torch.set_num_threads(1)
    network, device = load_checkpoint(path).network, torch.device("cpu")

    def run_eagerly(view: NDArray[np.uint8]) -> Any:
        with torch.inference_mode():
            return network(to_input(view[np.newaxis], device))

    return run_eagerly


def peak_above_bare(kind: Kind, path: Path, view: NDArray[np.uint8]) -> int | None:
    """Return by how many bytes loading and running a network raises this process's peak.

    To be called in a process of its own; what the runtime takes by being imported is left out.
    """
    if kind == "tflite":
        load_runtime("litert")
    elif kind == "onnx":
        import qlvit_edge.converters.routes.ort
    else:
        import qlvit_edge.training.checkpoint
        import qlvit_edge.training.loop  # noqa: F401
    before = peak_memory()
    run = runner(kind, path)
    for _ in range(_INFERENCES):
        run(view)
    after = peak_memory()
    return None if before is None or after is None else after - before
