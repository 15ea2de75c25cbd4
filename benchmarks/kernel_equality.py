"""Kernels against their specification in NumPy, operation by operation, over random cases.

    python benchmarks/kernel_equality.py [--cases 1000]

The cases are those of the tests (`tests/helpers/operation_cases.py`): random shapes, scales,
zero points and values up to the ends of what kernels accept, many of them ties on purpose. The
reference arithmetic is compared with BUILTIN_REF, XNNPACK's with the default kernels, which are
XNNPACK's or builtin ones that it leaves a case to. Exit code 1 if a value differs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from one_operation import Case, run_kernels
from operation_cases import CASES

from qlvit_edge.converters.graph import Graph, Operation
from qlvit_edge.converters.reference import Arithmetic, run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.arithmetic import runtime_version
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.inference.native import load_native, plan

Where = Literal["BUILTIN_REF", "XNNPACK", "builtin kernels"]
KERNELS: tuple[Where, ...] = get_args(Where)


@dataclass
class Differences:
    """What was seen of one operation, by the kernels that ran.

    Attributes:
        values: how many were compared.
        differ: how many differ from the arithmetic of these kernels.
        largest: the largest distance in steps.
    """

    values: Counter[Where] = field(default_factory=Counter)
    differ: Counter[Where] = field(default_factory=Counter)
    largest: Counter[Where] = field(default_factory=Counter)

    def add(self, case: Case) -> None:
        """Run a case on both kernel sets and count."""
        activations = {t.name: t for t in case.operation.inputs if t.data is None}
        output = case.operation.output
        graph = Graph("one", tuple(activations.values()), (output,), (case.operation,))
        content = write_tflite(graph)
        default = load_native(content, "case", Kernels.AUTO, "litert", 1)
        left: Where = "XNNPACK" if plan(default)[0] else "builtin kernels"
        sets: tuple[tuple[Where, Arithmetic, str], ...] = (
            ("BUILTIN_REF", "reference", "BUILTIN_REF"),
            (left, "xnnpack", "AUTO"),
        )
        for where, arithmetic, kernels in sets:
            expected = run_reference(graph, case.inputs, arithmetic=arithmetic)[output.name]
            distance = np.abs(run_kernels(content, case.inputs, kernels) - expected.astype(int))
            self.values[where] += expected.size
            self.differ[where] += int((distance > 0).sum())
            self.largest[where] = max(self.largest[where], int(distance.max()))

    def found(self, where: Where) -> str:
        """Say how many values differ on some kernels."""
        if not self.values[where]:
            return "–"
        largest = f", by at most {self.largest[where]}" if self.differ[where] else ""
        return f"{self.differ[where]} of {self.values[where]}{largest}"


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


def compare_operations(cases: int) -> dict[Where, list[str]]:
    """Print what every operation computes; returns the names of those that differ."""
    print(f"| differ on: | {' | '.join(KERNELS)} |")
    print("|---|--:|--:|--:|")
    different: dict[Where, list[str]] = {where: [] for where in KERNELS}
    for kind in CASES:
        seen = Differences()
        each_case(kind, cases, seen.add)
        print(f"| {kind.__name__} | {' | '.join(map(seen.found, KERNELS))} |", flush=True)
        for where in KERNELS:
            if seen.differ[where]:
                different[where].append(kind.__name__)
    return different


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    cases = parser.parse_args().cases
    print(f"{runtime_version('litert')}, {cases} cases each\n")
    return int(any(compare_operations(cases).values()))


if __name__ == "__main__":
    sys.exit(main())
