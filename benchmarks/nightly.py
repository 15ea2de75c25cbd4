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

from kernel_equality import compare_operations

from qlvit_edge import Classifier, bundled
from qlvit_edge.inference.arithmetic import runtime_version


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
    changed = compare_operations(cases)
    print()
    failed = broken_pairs()
    print()
    for where, names in changed.items():
        print(f"changed operators on {where}: {', '.join(names) or 'none'}")
    print(f"golden pairs that fail: {', '.join(failed) or 'none'}")
    return int(any(changed.values()) or bool(failed))


if __name__ == "__main__":
    sys.exit(main())
