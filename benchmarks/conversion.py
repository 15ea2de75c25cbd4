"""Time, memory, drop and agreement of `convert` with its proof.

    python benchmarks/conversion.py RUN --data DIR
    python benchmarks/conversion.py --size paper --data DIR

Runs the command as a user does, in a process of its own, with its default proof, and prints
what the README quotes. With ``--size`` the network has random weights and is calibrated on a few
images first (not timed): what conversion takes does not depend on the weights, and its accuracy
means nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from qlvit_edge.model.configs import SIZES

CALIBRATION_IMAGES = 8
_PROGRAM = "from qlvit_edge.cli import main; main()"
_COMMAND = [sys.executable, "-P", "-c", _PROGRAM]


def main() -> None:
    """Convert and print wall time, peak memory and the proof's figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--size", choices=SIZES, help="instead of RUN: random weights")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--softmax", choices=["fast", "exact"], default="fast")
    options = parser.parse_args()
    if (options.run is None) == (options.size is None):
        parser.error("give a RUN or a --size")
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or untrained_run(Path(folder) / "run", options.size, options.data)
        report = Path(folder) / "proof.json"
        arguments = ["convert", run, "--data", options.data, "--softmax", options.softmax]
        arguments += ["--out", Path(folder) / "model.tflite", "--report", report]
        arguments += ["--max-drop", 100] if options.size else []
        began = time.monotonic()
        largest, together = watched([*_COMMAND, *map(str, arguments)])
        seconds = time.monotonic() - began
        proof = json.loads(report.read_text())
    equality, accuracy = proof["equality"], proof["accuracy"]
    print(
        f"wall time   {seconds:.1f} s, peak memory {together / 1e6:.0f} MB of all processes "
        f"together, {largest / 1e6:.0f} MB of the largest"
    )
    reference, forms = proof["reference_equality"], proof["one_arithmetic"]
    print(
        f"proof       {equality['tensors']} tensors on {equality['images']} images on the default "
        f"kernels, on {reference['images'] if reference else 0} on the reference kernels"
    )
    print(
        f"x86 = arm64 {forms['tried']} products and sums tried, {len(forms['moved'])} scales moved"
    )
    print(
        f"accuracy    float {accuracy['float_accuracy']:.2%}, "
        f"file {accuracy['file_accuracy']:.2%}, "
        f"drop {accuracy['drop_points']:+.2f} points, agreement {accuracy['agreement']:.2%} "
        f"on {accuracy['images']} images"
    )


def untrained_run(folder: Path, size: str, data: Path) -> Path:
    """Write and calibrate a run folder of random weights."""
    from networks import write_untrained_run

    write_untrained_run(folder, size, data)
    calibrate = ["calibrate", folder, "--data", data, "--images", CALIBRATION_IMAGES]
    subprocess.run([*_COMMAND, *map(str, calibrate)], check=True)
    return folder


def watched(command: list[str]) -> tuple[int, int]:
    """Run a command; returns the peak memory in bytes of its largest process, and of all.

    All together is the proportional size (a shared page counts once), looked at 10 times a
    second.
    """
    process = subprocess.Popen(command)
    found = [0, 0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            sizes = [_proportional_size(pid) for pid in _family(process.pid)]
            found[0] = max(found[0], *sizes, 0)
            found[1] = max(found[1], sum(sizes))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        code = process.wait()
    finally:
        done.set()
        watcher.join()
    if code:
        raise SystemExit(code)
    return found[0], found[1]


def _family(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    family: list[Any] = [parent]
    for member in family:
        family += children.get(member, [])
    return family


def _proportional_size(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
