"""What running a model in a process of its own costs: per inference, to start, and in memory.

    python benchmarks/child_overhead.py [MODEL...] [--rounds 300] [--size paper]

The same image is classified with in this process and in a child, in turns, and the difference of
the medians is the overhead: sending the image, waking two processes, receiving the output.
Memory is the child's peak with the model, and before the model was loaded; data is what the limit
counts (VmData). --size adds a network of that size with random weights, int8 and float32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from networks import build, twin, untrained

from qlvit_edge.bundled import names, resolve_model
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.chain import open_isolated, open_model
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.configs import SIZES

WARM_UP = 20


def data(pid: int) -> int:
    """Return the bytes of data of a process, which RLIMIT_DATA counts."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmData:")[2].split()[0]) * 1024


def main() -> int:
    """Measure and print one line per model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(names()))
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--size", choices=SIZES)
    options = parser.parse_args()
    print(describe_machine().words)
    files = {name: resolve_model(name).read_bytes() for name in options.models}
    if options.size:
        checkpoint = untrained(options.size)
        files[f"{options.size}, int8"] = build(checkpoint)
        files[f"{options.size}, float32"] = twin(checkpoint, "log2")
    for name, content in files.items():
        began = time.perf_counter()
        remote = open_isolated(content)
        started = time.perf_counter() - began
        local = open_model(content)
        pixels = np.random.default_rng(0).integers(0, 256, local.input.shape, dtype=np.uint8)
        values = as_input(pixels, local.input)
        times: dict[bool, list[float]] = {False: [], True: []}
        for number in range(WARM_UP + options.rounds):
            for model in (local, remote):
                began = time.perf_counter()
                model.invoke(values)
                if number >= WARM_UP:
                    times[model.isolated].append(1e6 * (time.perf_counter() - began))
        here, there = (statistics.median(times[isolated]) for isolated in (False, True))
        limit = Allowance().memory(len(content), 1)
        peak, bare = remote.peak_bytes() or 0, remote.remote.bare_bytes or 0
        print(
            f"{name}: {here:.0f} µs here, {there:.0f} µs in a child ({there - here:+.0f} µs for "
            f"{values.nbytes} bytes); started in {started:.2f} s; {peak / 1e6:.0f} MB in all, "
            f"{bare / 1e6:.0f} MB of them without the model; "
            f"{data(remote.remote.pid) / 1e6:.0f} MB of data, limit {limit / 1e6:.0f} MB"
        )
        remote.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
