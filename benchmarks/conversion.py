"""Time, drop and agreement of `convert` with its proof on 200 images.

    python benchmarks/conversion.py RUN --data DIR

Runs the command as a user does, in a process of its own, and prints what the README quotes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Convert and print wall time, peak memory and the proof's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--softmax", choices=["fast", "exact"], default="fast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "proof.json"
        program = "from qlvit_edge.cli import main; main()"
        arguments = ["convert", options.run, "--data", options.data, "--softmax", options.softmax]
        arguments += ["--out", Path(folder) / "model.tflite", "--report", report]
        began = time.monotonic()
        subprocess.run([sys.executable, "-P", "-c", program, *map(str, arguments)], check=True)
        seconds = time.monotonic() - began
        proof = json.loads(report.read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    accuracy = proof["accuracy"]
    print(f"wall time   {seconds:.1f} s, peak memory of one process {peak:.0f} MiB")
    print(
        f"accuracy    float {accuracy['float_accuracy']:.2%}, "
        f"file {accuracy['file_accuracy']:.2%}, "
        f"drop {accuracy['drop_points']:+.2f} points, agreement {accuracy['agreement']:.2%} "
        f"on {accuracy['images']} images"
    )


if __name__ == "__main__":
    main()
