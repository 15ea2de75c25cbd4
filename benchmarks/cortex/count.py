"""Instructions that a Cortex-A72 (Raspberry Pi 4) or A76 (Pi 5) executes for one inference.

    python benchmarks/cortex/count.py FILE.tflite... --cache DIR [--cpu cortex-a72,cortex-a76]
        [--by part|operator|kernel|layer|layer-kernel] [--cycles] [--json OUT] [--record]

One thread, default kernels; the blocks of one inference are counted under emulation, operator by
operator (`make cortex` builds what that needs). Equal within 0.02 % from run to run. `--cycles`
adds cycles by LLVM's model of the processor, with memory that is always fast. Files with a record
(recorded.json) are compared with it: exit code 1 where one executes over 1 % more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
sys.path.insert(0, str(BENCHMARKS))

import arm64_userland  # noqa: E402
import emulator  # noqa: E402
import recorded  # noqa: E402
from attribution import Cost, Share, attribute, total, totals  # noqa: E402
from cycles import block_cycles  # noqa: E402
from record import record  # noqa: E402
from symbols import LIBRARY, Symbols  # noqa: E402

CPUS = "cortex-a72,cortex-a76"
BY: dict[str, Callable[[Share], str]] = {
    "part": lambda share: share.part,
    "operator": lambda share: share.operator,
    "kernel": lambda share: share.kernel,
    "layer": lambda share: f"{share.number} {share.operator} {share.name}",
    "layer-kernel": lambda share: f"{share.number} {share.operator} {share.name}: {share.kernel}",
}


class Counter:
    """An emulator with everything that counting needs."""

    def __init__(self, cache: Path) -> None:
        """Build what is missing in `cache`.

        Raises:
            SystemExit: with exit code 2 and one line that says what is missing.
        """
        self._emulator = emulator.build(arm64_userland.build(cache.resolve(), own_code=False))
        self._symbols = Symbols.of(self._emulator.userland.folder / "site" / LIBRARY)

    def count(self, model: Path, cpu: str, *, cycles: bool = False) -> list[Share]:
        """Return what each operator of a model costs on a processor.

        Raises:
            SystemExit: the model does not run, or LLVM is missing.
        """
        run = record(self._emulator, self._symbols, model, cpu)
        costs = block_cycles((b.code for b in run.blocks.values()), cpu) if cycles else None
        return attribute(model, run, self._symbols, costs)


def table(counted: Mapping[str, list[Share]], by: str, *, cycles: bool = False) -> str:
    """Return millions and shares as a Markdown table, with columns for each processor."""
    columns = {cpu: totals(shares, BY[by]) for cpu, shares in counted.items()}
    wholes = {cpu: total(shares) for cpu, shares in counted.items()}
    titles = " | ".join(
        f"{cpu}: million | %" + (" | million cycles" if cycles else "") for cpu in columns
    )
    rule = "--:|" * len(columns) * (3 if cycles else 2)
    lines = [f"| {by} | {titles} |", f"|---|{rule}"]
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = {"all": wholes} | {
        name: {cpu: column.get(name, Cost(0, 0.0)) for cpu, column in columns.items()}
        for name in names
    }
    for name, costs in rows.items():
        cells = [
            f"{cost.instructions / 1e6:.3f} | "
            f"{100 * cost.instructions / wholes[cpu].instructions:.1f}"
            + (f" | {cost.cycles / 1e6:.3f}" if cycles else "")
            for cpu, cost in costs.items()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(counted: Mapping[str, list[Share]]) -> dict[str, Any]:
    """Return everything that is known, by processor."""
    return {
        cpu: {
            **vars(total(shares)),
            "parts": {name: vars(cost) for name, cost in totals(shares, BY["part"]).items()},
            "operators": [vars(share) for share in shares],
        }
        for cpu, shares in counted.items()
    }


def main() -> int:
    """Count, print, write, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cpu", default=CPUS)
    parser.add_argument("--by", choices=BY, default="part")
    parser.add_argument("--cycles", action="store_true", help="needs llvm-19")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", action="store_true", help="make these counts the record")
    options = parser.parse_args()
    for model in options.models:
        if not model.is_file():
            arm64_userland.fail(f"{model}: no such file")
    counter = Counter(options.cache)
    found: dict[str, Any] = {}
    sums: recorded.Counts = {}
    for model in options.models:
        counted = {
            cpu: counter.count(model, cpu, cycles=options.cycles) for cpu in options.cpu.split(",")
        }
        print(f"{model}\n\n{table(counted, options.by, cycles=options.cycles)}\n", flush=True)
        found[str(model)] = as_json(counted)
        sums[model.stem] = {cpu: total(shares).instructions for cpu, shares in counted.items()}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.record:
        recorded.save(sums)
        return 0
    lines, failed = recorded.verdicts(sums, recorded.load())
    print("\n".join(lines), end="\n" if lines else "")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
