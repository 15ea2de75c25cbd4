"""How much of `run`'s time goes into anything but decoding, finding and inference.

Run as ``python benchmarks/run_overhead.py MODEL FOLDER``: MODEL is a .tflite file or a
bundled model's name, FOLDER holds images of fields. Runs the command as a user would,
results on the disk after every frame, and prints its figures as JSON; exits 1 above the
limit of 25 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.25


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-P", "-c", "from qlvit_edge.cli import main; main()"]
        command += ["run", arguments.model, "--camera", str(arguments.folder)]
        command += ["--out", f"{scratch}/results.sqlite", "--json"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(done.stderr)
    summary = json.loads(done.stdout)
    needed = sum(summary["time_shares"][name] for name in ("capture", "find", "infer"))
    figures = {
        "frames": summary["frames"],
        "cells": summary["cells"],
        "kernels": summary["kernels"],
        "frames_per_second": round(summary["frames_per_second"], 1),
        "time_shares": {name: round(share, 3) for name, share in summary["time_shares"].items()},
        "overhead_share": round(summary["overhead_share"], 3),
        "process_seconds": round(wall, 2),
        "process_overhead_share": round(1 - needed * summary["seconds"] / wall, 3),
    }
    print(json.dumps(figures, indent=2))
    sys.exit(0 if figures["overhead_share"] <= LIMIT else 1)


if __name__ == "__main__":
    main()
