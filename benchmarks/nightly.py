"""What another version of the runtime changes: operators one by one, and the golden pairs.

    make nightly [NIGHTLY=ai-edge-litert-nightly]
    python benchmarks/nightly.py [--cases 500]

Runs the random cases of the tests (`tests/helpers/operation_cases.py`) on the installed runtime,
whichever that is: what NumPy gives in the reference arithmetic against BUILTIN_REF, in XNNPACK's
against the default kernels, which are XNNPACK's or builtin ones that it leaves a case to. Then
the golden pairs of the bundled models on both. `make nightly` does so with the newest pre-release
in an environment of its own. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from kernel_bounds import each_case
from one_operation import Case, run_kernels
from operation_cases import CASES

from qlvit_edge import Classifier, bundled
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.reference import Arithmetic, run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.runtime.arithmetic import runtime_version
from qlvit_edge.runtime.interpreter import Kernels, load_native, plan

Where = Literal["BUILTIN_REF", "XNNPACK", "builtin kernels"]
KERNELS: tuple[Where, ...] = get_args(Where)


@dataclass
class Changes:
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


def changed_operations(cases: int) -> dict[Where, list[str]]:
    """Print what every operation computes; returns the names of those that changed."""
    print(f"| differ on: | {' | '.join(KERNELS)} |")
    print("|---|--:|--:|--:|")
    changed: dict[Where, list[str]] = {where: [] for where in KERNELS}
    for kind in CASES:
        seen = Changes()
        each_case(kind, cases, seen.add)
        print(f"| {kind.__name__} | {' | '.join(map(seen.found, KERNELS))} |", flush=True)
        for where in KERNELS:
            if seen.differ[where]:
                changed[where].append(kind.__name__)
    return changed


def broken_pairs() -> list[str]:
    """Print how the golden pairs of the bundled models come out; returns those that fail."""
    failed = []
    for name in bundled.names():
        for kernels in ("auto", "reference"):
            classifier = Classifier(name, kernels=kernels)
            report = classifier.golden_pairs()
            print(f"{name}, {classifier.kernels_used}: {report.sentence}")
            if report.failure is not None:
                failed.append(f"{name} on {kernels}")
    return failed


def main() -> int:
    """Print the tables and what they come to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    cases = parser.parse_args().cases
    print(f"{runtime_version('litert')}, {cases} cases each\n")
    changed = changed_operations(cases)
    print()
    failed = broken_pairs()
    print()
    for where, names in changed.items():
        print(f"changed operators on {where}: {', '.join(names) or 'none'}")
    print(f"golden pairs that fail: {', '.join(failed) or 'none'}")
    return int(any(changed.values()) or bool(failed))


if __name__ == "__main__":
    sys.exit(main())
