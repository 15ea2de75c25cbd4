"""Other runtimes and other networks for the side-by-side table; no command of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from qlvit_edge.converters.routes.environment import run_limited
from qlvit_edge.converters.routes.onnx import export_onnx
from qlvit_edge.converters.routes.ort import INPUT, dynamic_int8, open_session
from qlvit_edge.training.checkpoint import Checkpoint

KERAS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0")
_SECONDS = 900.0


class Called:
    """A function in this process that takes turns with the workers.

    Attributes:
        name: of the row.
        size: of the file or the weights, in bytes.
    """

    def __init__(self, name: str, call: Callable[[], object], size: int) -> None:
        """``call`` runs one inference."""
        self.name, self.size = name, size
        self._call = call

    def run(self, times: int) -> list[float]:
        """Run once untimed, then ``times`` times; returns the milliseconds of each."""
        self._call()
        found = []
        for _ in range(times):
            began = time.perf_counter()
            self._call()
            found.append(1e3 * (time.perf_counter() - began))
        return found


def same_network(checkpoint: Checkpoint, threads: int) -> list[Called]:
    """Return the float network in ONNX Runtime (float32, dynamic int8) and in PyTorch eager."""
    torch.set_num_threads(threads)
    config = checkpoint.run.network
    shape = (1, config.channels, *config.input_size)
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    image = torch.from_numpy(values)
    network = checkpoint.network.eval()
    content = export_onnx(checkpoint)

    def session_of(data: bytes) -> Callable[[], object]:
        session = open_session(data, threads)
        return lambda: session.run(None, {INPUT: values})

    def eager() -> object:
        with torch.inference_mode():
            return network(image)

    weights = sum(4 * parameter.numel() for parameter in network.parameters())
    quantised = dynamic_int8(content)
    return [
        Called("ONNX Runtime, float32", session_of(content), len(content)),
        Called("ONNX Runtime, dynamic int8", session_of(quantised), len(quantised)),
        Called("PyTorch eager, float32", eager, weights),
    ]


def keras_file(python: Path, name: str, side: int, classes: int, folder: Path) -> Path:
    """Convert one network with the TensorFlow environment's Python; returns the file.

    Raises:
        SystemExit: it did not work; with the end of what TensorFlow said.
    """
    out, log = folder / f"{name}-{side}.tflite", folder / f"{name}-{side}.log"
    worker = Path(__file__).with_name("keras_int8.py")
    arguments = [str(worker), name, str(side), str(classes), str(out)]
    if run_limited(python, arguments, folder, log, _SECONDS) != 0 or not out.is_file():
        raise SystemExit(f"{name} at {side} px: no file\n{log.read_text()[-2000:]}")
    return out
