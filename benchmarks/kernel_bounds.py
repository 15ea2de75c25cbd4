"""How far kernels are from the NumPy reference, operation by operation, over random cases.

    python benchmarks/kernel_bounds.py [--cases 1000]

The cases are those of the tests (`tests/helpers/operation_cases.py`): random shapes, scales,
zero points and values up to the ends of what kernels accept, many of them ties on purpose. The
shares are therefore upper ends, not what a trained network shows. Exit code 1 if a value on the
reference kernels differs at all, or one on the default kernels by more than the recorded bound.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from one_operation import Case, outcomes
from operation_cases import CASES

from qlvit_edge.converters.graph import Operation
from qlvit_edge.converters.ops.bounds import LARGEST_DIFFERENCE


@dataclass
class Tally:
    """What was seen of one operation: cases, values, and how many differ and by how much."""

    cases: int = 0
    values: int = 0
    reference: int = 0
    default: int = 0
    largest: int = 0

    def add(self, case: Case) -> None:
        """Run a case on both kernel sets and count."""
        expected, reference, default = outcomes(case)
        distance = np.abs(default.astype(np.int64) - expected)
        self.cases += 1
        self.values += expected.size
        self.reference += int((reference != expected).sum())
        self.default += int((distance > 0).sum())
        self.largest = max(self.largest, int(distance.max()))


def each_case(kind: type[Operation], cases: int, use: Callable[[Case], None]) -> None:
    """Call `use` with `cases` random cases of an operation; the same ones every time."""

    @settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES[kind])
    def run(case: Case) -> None:
        use(case)

    run()


def measure(kind: type[Operation], cases: int) -> Tally:
    """Run `cases` random cases of an operation."""
    tally = Tally()
    each_case(kind, cases, tally.add)
    return tally


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    cases = parser.parse_args().cases
    print(f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, {cases} cases each\n")
    print("| operation | values | differ on BUILTIN_REF | differ by default | largest | bound |")
    print("|---|--:|--:|--:|--:|--:|")
    failed = False
    for kind in CASES:
        seen = measure(kind, cases)
        bound = LARGEST_DIFFERENCE.get(kind.__name__, 0)
        failed |= seen.reference > 0 or seen.largest > bound
        share = f"{seen.default / seen.values:.3%}" if seen.default else "0"
        print(
            f"| {kind.__name__} | {seen.values} | {seen.reference} | {share} | "
            f"{seen.largest} | {bound} |",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
