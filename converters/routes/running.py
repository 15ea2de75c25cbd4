"""Running a `.tflite` file of any tool; light enough to be imported by child processes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.routes.closeness import Logits
from qlvit_edge.runtime.classifier import as_input
from qlvit_edge.runtime.interpreter import Interpreter, Kernels


def file_logits(
    content: bytes, kernels: Kernels, views: NDArray[np.uint8]
) -> tuple[Logits, str, int]:
    """Return real logits (N, classes), the kernels that ran, and the delegate's parts."""
    interpreter = Interpreter(content, kernels=kernels)
    rows = [
        interpreter.output.dequantise(interpreter.invoke(as_input(view, interpreter.input)))[0]
        for view in views
    ]
    return np.stack(rows), interpreter.kernels_used, interpreter.partitions
