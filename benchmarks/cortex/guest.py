"""Runs inside the emulator: one inference of a model is recorded by the plugin.

    guest.py MODEL.tflite WARM_UP

The plugin listens to a system call without effect (see counter.c).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert import interpreter as litert

LIBRARY = "libpywrap_litert_common.so"
_NO_FILE, _LOADED_AT, _RECORD_NEXT = -7, 1, 2


def tell(value: int, command: int) -> None:
    """Make the system call that the plugin listens to."""
    try:
        os.posix_fadvise(_NO_FILE, value, command, 0)
    except OSError:
        return


def loaded_at(library: str) -> int:
    """Return the address that a library was loaded at."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, *rest = line.split()
        if rest[-1].endswith(library) and int(offset, 16) == 0:
            return int(span.split("-")[0], 16)
    raise SystemExit(f"{library}: not loaded")


def main() -> None:
    """Load, warm up, have one inference recorded."""
    path, warm_up = Path(sys.argv[1]), int(sys.argv[2])
    network = litert.Interpreter(model_content=path.read_bytes(), num_threads=1)
    tell(loaded_at(LIBRARY), _LOADED_AT)
    network.allocate_tensors()
    generator = np.random.default_rng(0)
    for entry in network.get_input_details():
        kind = np.dtype(entry["dtype"])
        if kind.kind == "f":
            values = generator.uniform(0, 255, entry["shape"]).astype(kind)
        else:
            limits = np.iinfo(kind)
            values = generator.integers(max(limits.min, -128), min(limits.max, 255), entry["shape"])
        network.set_tensor(entry["index"], values.astype(kind))
    for _ in range(warm_up):
        network.invoke()
    tell(0, _RECORD_NEXT)
    network.invoke()


if __name__ == "__main__":
    main()
