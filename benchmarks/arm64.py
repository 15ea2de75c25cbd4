"""The bundled models on emulated arm64 processors, against outputs recorded on x86-64.

    python benchmarks/arm64.py --cache DIR [--limit 12] [--cpu cortex-a72,cortex-a76]

Builds a Bookworm arm64 userland in DIR (about 0.6 GB; needs mmdebstrap and package sources),
runs `outputs.py` in it under QEMU's user mode and compares with `tests/fixtures/outputs_x86.json`:
decoded pixels and network inputs by hash, all logits one by one. The record is made on x86-64 by

    python benchmarks/outputs.py MODEL.tflite... --images qlvit_edge/bundled \
        --out tests/fixtures/outputs_x86.json

Exit code 1 if pixels, inputs or the reference kernels' logits differ at all, if the default
kernels' logits differ by more than --largest, or if XNNPACK did not run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import arm64_userland
import numpy as np

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "fixtures" / "outputs_x86.json"
KERNELS = {"auto": "default", "reference": "BUILTIN_REF"}


def emulate(userland: arm64_userland.Userland, cpu: str, limit: int) -> dict[str, Any]:
    """Run `outputs.py` on an emulated processor."""
    inside = userland.folder / "project" / "qlvit_edge" / "bundled"
    models = [str(path) for path in sorted(inside.glob("*/*.tflite"))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outputs.json"
        command = userland.command(
            *(cpu, Path(__file__).parent / "outputs.py", *models),
            *("--images", str(inside), "--limit", str(limit), "--out", str(out)),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            arm64_userland.fail(f"{cpu}: ended with {done.returncode} ({last}); see QEMU's notes")
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def same(recorded: dict[str, str], found: dict[str, str]) -> str:
    """Say how many hashes of `found` are the recorded ones."""
    equal = sum(recorded.get(name) == value for name, value in found.items())
    return f"{equal} of {len(found)}"


def distances(recorded: dict[str, str], found: dict[str, str]) -> np.ndarray:
    """Return |difference| of all logits, (images, classes)."""
    return np.array(
        [
            [abs(int(a) - int(b)) for a, b in zip(recorded[n].split(), v.split(), strict=True)]
            for n, v in found.items()
        ]
    )


def main() -> int:
    """Build, run, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76")
    parser.add_argument("--largest", type=int, default=1)
    options = parser.parse_args()
    recorded = json.loads(RECORD.read_text())
    userland = arm64_userland.build(options.cache.resolve())
    versions = ", ".join(f"{name} {number}" for name, number in recorded["packages"].items())
    print(f"{versions}; QEMU {userland.qemu}, user mode; recorded on {recorded['machine']}\n")
    print("| processor | model | kernels | ran | inputs equal | logits | differ | largest |")
    print("|---|---|---|---|--:|--:|--:|--:|")
    failed = False
    for cpu in options.cpu.split(","):
        began = time.perf_counter()
        found = emulate(userland, cpu, options.limit)
        failed |= found["machine"] != "aarch64" or found["packages"] != recorded["packages"]
        failed |= not found["images"].items() <= recorded["images"].items()
        for name, entry in found["models"].items():
            there = recorded["models"].get(name)
            if there is None or there["sha256"] != entry["sha256"]:
                arm64_userland.fail(f"{name}: not the recorded file; record it again on x86-64")
            failed |= not entry["inputs"].items() <= there["inputs"].items()
            for kernels, title in KERNELS.items():
                steps = distances(there[kernels]["logits"], entry[kernels]["logits"])
                failed |= steps.max() > (options.largest if kernels == "auto" else 0)
                failed |= kernels == "auto" and "XNNPACK (" not in entry[kernels]["ran"]
                print(
                    f"| {cpu} | {name} | {title} | {entry[kernels]['ran']} | "
                    f"{same(there['inputs'], entry['inputs'])} | {steps.size} | "
                    f"{(steps > 0).sum()} | {steps.max()} |"
                )
        decoded = same(recorded["images"], found["images"])
        seconds = time.perf_counter() - began
        print(f"\n{cpu}: decoded pixels equal in {decoded} images; {seconds:.0f} s\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
