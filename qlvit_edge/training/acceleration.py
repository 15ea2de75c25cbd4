"""Other ways of computing the same network: bfloat16, compiled, channels last.

Weights, their average, the optimiser and every checkpoint are float32 with each of them, and the
network is evaluated as ever.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from qlvit_edge.errors import DeviceError
from qlvit_edge.training.settings import TrainingSettings

Forward = Callable[[Tensor], Tensor]

_PLAINLY: Final = "train without --compile"


class Acceleration:
    """How the settings of a run say that its network is computed."""

    def __init__(self, settings: TrainingSettings, device: torch.device) -> None:
        """Compute as the settings say.

        Raises:
            DeviceError: the device cannot, or has no compiler.
        """
        self._half = settings.precision == "bfloat16"
        self._channels_last = settings.channels_last
        self._compiles = settings.compiled
        self._compiled: dict[int, Forward] = {}
        if self._half and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise DeviceError(
                "--precision bfloat16", "this CUDA device has no bfloat16", "use float32"
            )
        if self._compiles:
            _require_compiler(device)

    def prepare(self, network: nn.Module) -> None:
        """Lay out the weights of a network on its device."""
        if self._channels_last:
            for tensor in (*network.parameters(), *network.buffers()):
                if tensor.dim() == 4:
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)

    def logits(self, forward: Forward, images: Tensor) -> Tensor:
        """Return the logits (B, classes) float32 of images (B, C, H, W).

        Args:
            forward: the network; the same object in every step, so that it is compiled once.
            images: float32.

        Raises:
            DeviceError: it cannot be compiled.
        """
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._compiles:
            forward = self._compiled.setdefault(id(forward), torch.compile(forward, dynamic=False))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._half):
            return forward(images).float()


PLAIN: Final = Acceleration(
    TrainingSettings(epochs=1, batch=1, peak_rate=0, weight_decay=0, validation=0, seed=0),
    torch.device("cpu"),
)
"""Float32, nothing compiled."""


@contextmanager
def compiling() -> Iterator[None]:
    """Turn what compiling raises, in a forward or a backward pass, into one line.

    Raises:
        DeviceError: the network cannot be compiled here.
    """
    try:
        yield
    except Exception as error:
        # Importing it takes seconds; what was not imported has not raised anything.
        dynamo = sys.modules.get("torch._dynamo.exc")
        if dynamo is None or not isinstance(error, dynamo.TorchDynamoException):
            raise
        first = str(error).strip().splitlines()[0]
        raise DeviceError("--compile", f"does not work here ({first})", _PLAINLY) from None


def lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Lay out an optimiser's state as its parameters lie in memory.

    What was read from a file does not, and then sums may be taken in another order.
    """
    for parameter, state in optimiser.state.items():
        for name, tensor in state.items():
            if torch.is_tensor(tensor) and tensor.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _require_compiler(device: torch.device) -> None:
    """Find what `torch.compile` needs, before an hour of decoding.

    Raises:
        DeviceError: it is not there.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise DeviceError("--compile", "Triton is not installed", _PLAINLY)
        return
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler.split()[0]) is None and shutil.which("clang++") is None:
        raise DeviceError(
            "--compile", f"no C++ compiler is found ({compiler})", f"install one, or {_PLAINLY}"
        )
