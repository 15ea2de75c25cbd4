"""What it costs that a model runs in a process of its own, and how much of that is copying.

Run as ``python benchmarks/child_round_trip.py [MODEL]``. Prints microseconds as JSON, the smallest
of many calls: an inference in a process of its own and in this one; a call that does nothing with
one byte, with the image of a cell, and with a whole frame. Memory that both processes share would
save the difference between the first two of these, and no more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from qlvit_edge import Classifier
from qlvit_edge.inference.child import Child

CALLS = 500
FRAME = (720, 1280, 3)


def microseconds(call: Callable[[], object]) -> int:
    """Return the smallest time of a call."""
    call()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(1e6 * min(times))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="blood-nano")
    model = parser.parse_args().model
    figures: dict[str, int] = {}
    child = Child()
    with Classifier(model) as apart, Classifier(model, isolated=False) as here:
        shape = (*apart.metadata.input_size, apart.metadata.channels)
        cell = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        figures["inference, its own process"] = microseconds(lambda: apart.infer(cell))
        figures["inference, this process"] = microseconds(lambda: here.infer(cell))
    for name, array in (
        ("one byte", np.zeros(1, np.uint8)),
        ("a cell's image", cell),
        ("a frame", np.zeros(FRAME, np.uint8)),
    ):
        figures[f"call with {name}"] = microseconds(
            partial(child.call, 10.0, np.ndarray.item, array, 0)
        )
    child.close()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
