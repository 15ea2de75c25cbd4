"""Instructions that a Cortex-A72 (Raspberry Pi 4) or A76 (Pi 5) executes for one inference.

    python benchmarks/cortex/count.py FILE.tflite... [--cpu cortex-a72,cortex-a76]
        [--by part|operator|kernel|layer] [--json OUT] --cache DIR

One thread, default kernels, counted block by block under emulation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import arm64_userland
import emulator
from attribution import Share, attribute, totals
from record import record
from symbols import LIBRARY, Symbols

CPUS = "cortex-a72,cortex-a76"
BY = {
    "part": lambda share: share.part,
    "operator": lambda share: share.operator,
    "kernel": lambda share: share.kernel or share.operator,
    "layer": lambda share: f"{share.number:4d} {share.operator} {share.name} [{share.kernel}]",
}


def table(counted: dict[str, list[Share]], by: str) -> str:
    """Return millions of instructions and shares as a Markdown table, a column per processor."""
    columns = {cpu: totals(shares, BY[by]) for cpu, shares in counted.items()}
    sums = {cpu: sum(n for n, _ in column.values()) for cpu, column in columns.items()}
    lines = [f"| {by} | " + " | ".join(f"{cpu}, million | %" for cpu in columns) + " |"]
    lines.append("|---|" + "--:|--:|" * len(columns))
    lines.append("| all | " + " | ".join(f"{n / 1e6:.3f} | 100" for n in sums.values()) + " |")
    names = dict.fromkeys(name for column in columns.values() for name in column)
    for name in names:
        cells = []
        for cpu, column in columns.items():
            spent = column.get(name, (0, 0.0))[0]
            cells.append(f"{spent / 1e6:.3f} | {100 * spent / sums[cpu]:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--cpu", default=CPUS)
    parser.add_argument("--by", choices=BY, default="part")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = emulator.build(arm64_userland.build(options.cache.resolve(), own_code=False))
    symbols = Symbols.of(machine.userland.folder / "site" / LIBRARY)
    found: dict[str, Any] = {}
    for model in options.models:
        counted = {
            cpu: attribute(model, record(machine, symbols, model, cpu), symbols)
            for cpu in options.cpu.split(",")
        }
        print(f"{model}\n\n{table(counted, options.by)}\n", flush=True)
        found[str(model)] = {
            cpu: {
                "instructions": sum(share.instructions for share in shares),
                "parts": {name: n for name, (n, _) in totals(shares, BY["part"]).items()},
                "operators": [vars(share) for share in shares],
            }
            for cpu, shares in counted.items()
        }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
