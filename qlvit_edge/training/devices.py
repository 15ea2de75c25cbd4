"""Where a network is trained."""

from __future__ import annotations

import torch

from qlvit_edge.errors import DeviceError
from qlvit_edge.launch import launch
from qlvit_edge.text import counted


def choose_device(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Of several processes that train together each has a CUDA device of its own.

    Raises:
        DeviceError: ``cuda`` was asked for and there is none, or fewer than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda", "PyTorch finds no CUDA device", "use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    found = launch()
    if name == "cpu" or found is None:
        return torch.device(name)
    devices = torch.cuda.device_count()
    if found.local_size > devices:
        raise DeviceError(
            "torchrun",
            f"started {found.local_size} processes for {counted(devices, 'CUDA device')}",
            "start one for each, or train with --device cpu",
        )
    own = torch.device("cuda", found.local_rank)
    torch.cuda.set_device(own)
    return own
