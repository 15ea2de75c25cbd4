"""Kernels against the two forms of MUL and MEAN, near ties, where x86-64 and arm64 part.

    python benchmarks/forms.py

Searches for scales and sums that the forms round differently (`tests/helpers/near_ties.py`), runs
them on the default kernels of this machine and prints as JSON how many values were compared, how
many differ from this machine's form, and how many from the other one. And int16 ADD, which has
one form, where it differs from the reference arithmetic. `make arm64` runs it on emulated
processors.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import near_ties
from near_ties import THIS_MACHINE
from one_operation import run_kernels

from qlvit_edge.converters.graph import Graph, Operation
from qlvit_edge.converters.tflite import write_tflite

PRODUCTS, MEANS, SUMS = 25, 40, 12

Inputs = dict[str, np.ndarray]


def products() -> Iterator[tuple[Operation, Inputs]]:
    """Every pair of bytes, for scales where forms part."""
    every = np.arange(-128, 128).astype(np.int8)
    for operation, _ in itertools.islice(near_ties.parting(near_ties.random_mul, 1), PRODUCTS):
        yield operation, {"a": every.reshape(1, 256, 1), "b": every.reshape(1, 1, 256)}


def means() -> Iterator[tuple[Operation, Inputs]]:
    """Maps of sums on which forms part."""
    for operation, apart in itertools.islice(near_ties.parting(near_ties.random_mean, 2), MEANS):
        for total in apart[:: max(1, len(apart) // 20)].tolist():
            yield operation, {"x": near_ties.map_of_sum(operation, total)}


def compare(cases: Iterator[tuple[Operation, Inputs]]) -> dict[str, int]:
    """Count values, those unlike this machine's form and those unlike the other one."""
    found = {"values": 0, "unequal": 0, "unlike the other form": 0}
    for operation, inputs in cases:
        given = tuple(t for t in operation.inputs if t.data is None)
        content = write_tflite(Graph("one", given, (operation.output,), (operation,)))
        got = run_kernels(content, inputs, "AUTO")
        arrays = [inputs[t.name] if t.data is None else t.data for t in operation.inputs]
        own = operation.xnnpack(*arrays, form=THIS_MACHINE)
        if operation.output.dtype == "int16":
            other = operation.reference(*arrays)
        else:
            form = "arm64" if THIS_MACHINE == "x86" else "x86"
            other = operation.xnnpack(*arrays, form=form)
        found["values"] += got.size
        found["unequal"] += int(np.count_nonzero(got != own))
        found["unlike the other form"] += int(np.count_nonzero(got != other))
    return found


def main() -> None:
    """Print the counts as JSON."""
    wide = itertools.islice(near_ties.wide_sums(5), SUMS)
    found = {"MUL": compare(products()), "MEAN": compare(means()), "int16 ADD": compare(wide)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
