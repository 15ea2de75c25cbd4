"""How long `qlvit-edge --help` takes: the median over fresh processes.

Run as ``python benchmarks/help_time.py [--runs 20] [--limit 0.3] [--json]``. Exit code 1
when the median is above the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


def time_help(runs: int) -> list[float]:
    """Return the wall time in seconds of each of ``runs`` calls, after one to warm up."""
    script = Path(sys.executable).with_name("qlvit-edge")
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run([str(script), "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - begin)
    return times[1:]


def main() -> int:
    """Measure, print, compare with the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--limit", type=float, default=0.3, help="seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    times = time_help(options.runs)
    median, slowest = statistics.median(times), max(times)
    if options.json:
        print(json.dumps({"runs": len(times), "median_s": median, "slowest_s": slowest}))
    else:
        print(
            f"qlvit-edge --help: median {median:.3f} s, slowest {slowest:.3f} s"
            f" ({len(times)} runs, limit {options.limit} s)"
        )
    return int(median > options.limit)


if __name__ == "__main__":
    sys.exit(main())
