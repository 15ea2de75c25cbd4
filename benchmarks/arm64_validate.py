"""`qlvit-edge validate` on emulated arm64 processors: does a device give the bytes as proved?

    python benchmarks/arm64_validate.py --cache DIR --out DIR [--cpu cortex-a72,cortex-a76]
        [--model blood-nano] [--fields DIR]

Shows the bundled crops, the bundled fields, and every cell that the finder finds in them (and,
with `--fields`, in as many others). The workstation's `validate` records what it answers on the
default and on the reference kernels. Then the device's own `validate`, emulated, with
`ai-edge-litert` and with `tflite-runtime` and an older NumPy and OpenCV, is told to compare:

- kernels whose arithmetic is proved (XNNPACK's of `ai-edge-litert`, the reference kernels of both
  runtimes) must give the same logits and features, to the byte, from the same input pixels;
- the default kernels of `tflite-runtime`, for which nothing is proved, are compared with the
  reference kernels, and the row says how far they are off.

Exit code 1 if a kernel set with a proof gives any other byte, or a golden pair fails there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import arm64_userland
import cv2

from qlvit_edge import bundled
from qlvit_edge.fields.finder import crop, find_cells
from qlvit_edge.preprocess import decode

RUNTIMES = {"ai-edge-litert": "litert", "tflite-runtime": "tflite-runtime"}
KERNELS = ("auto", "reference")
PROVED = {("litert", "auto"), ("litert", "reference"), ("tflite-runtime", "reference")}
MOST_OTHER_CELLS = 60


def write_images(folder: Path, others: Path | None) -> int:
    """Write the images that are shown, in a folder per class; returns how many."""
    for path in sorted(bundled.CROPS.glob("*/*.png")):
        _copy(path, folder / path.parent.name)
    cells = 0
    fields = sorted(bundled.FIELDS.glob("*.jpg"))
    for path in fields:
        _copy(path, folder / "whole fields")
        cells += _cut(path, folder / "cells of fields")
    for path in [] if others is None else sorted(others.rglob("*.jpg")):
        if cells >= MOST_OTHER_CELLS:
            break
        cells += _cut(path, folder / "cells of other fields")
    return len([path for path in folder.rglob("*") if path.is_file()])


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_bytes(path.read_bytes())


def _cut(path: Path, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    picture = decode(path)
    cells = find_cells(picture)
    for number, cell in enumerate(cells):
        cv2.imwrite(str(folder / f"{path.stem} {number}.png"), crop(picture, cell)[:, :, ::-1])
    return len(cells)


def validate(command: list[str], arguments: list[str], out: Path) -> dict[str, Any]:
    """Run `validate` and return its report; a verdict that it may not be used is one too."""
    done = subprocess.run(
        [*command, "validate", *arguments, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        arm64_userland.fail(f"{out.name}: ended with {done.returncode} ({last})")
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found


def emulated(userland: arm64_userland.Userland, cpu: str, folder: Path) -> list[str]:
    """Return the command that is `qlvit-edge` on an emulated processor."""
    starter = folder / f"python-{userland.site}-{cpu}"
    starter.write_text(f'#!/bin/sh\nexec {shlex.join(userland.python(cpu))} "$@"\n')
    starter.chmod(0o755)
    script = Path(__file__).parent / "emulated_command.py"
    return userland.command(cpu, script, str(starter))


def row(cpu: str, runtime: str, kernels: str, report: dict[str, Any], seconds: float) -> bool:
    """Print a device's row; tells whether it gives what is proved of its kernels."""
    found, golden = report["agreement"], report["golden"]
    exact, proved = found["exact"], (runtime, kernels) in PROVED
    equal = found["compared"] - max(found["outputs_that_differ"], found["inputs_that_differ"])
    answers = found["compared"] - found["answers_that_differ"]
    cells = (
        *(cpu, f"{runtime} {report['machine']['packages'].get(_package(runtime), '')}"),
        *(report["kernels"]["used"].partition(" (")[0], "yes" if exact else "no"),
        f"{found['compared'] - found['inputs_that_differ']} of {found['compared']}",
        f"{equal} of {found['compared']}",
        f"{found['largest_difference']:g}",
        f"{answers} of {found['compared']}",
        f"{golden['equal']} of {golden['compared']}",
        *(report["verdict"]["outcome"], f"{seconds:.0f} s"),
    )
    print(f"| {' | '.join(cells)} |", flush=True)
    if not proved:
        return True
    return bool(exact and equal == found["compared"] and not found["missing"] and golden["passed"])


def _package(runtime: str) -> str:
    return next(package for package, name in RUNTIMES.items() if name == runtime)


def main() -> int:
    """Record here, validate there, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76")
    parser.add_argument("--model", default="blood-nano")
    parser.add_argument("--fields", type=Path)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    shown = write_images(out / "images", options.fields)
    given = [options.model, "--data", str(out / "images"), "--unknown-classes"]
    given += ["--model-seconds", "300"]
    here = [sys.executable, "-P", "-m", "qlvit_edge"]
    for kernels in KERNELS:
        validate(here, [*given, "--kernels", kernels], out / f"here-{kernels}")
    headings = "processor | runtime | kernels | bytes must be equal | same input | same bytes | "
    headings += "farthest logit, LSB | same answer | golden pairs | verdict | time"
    print(f"{options.model}, {shown} images, whole and as the finder crops them\n")
    print(f"| {headings} |\n|{'---|' * (headings.count('|') + 1)}")
    same, reports = True, []
    for cpu in options.cpu.split(","):
        for package, runtime in RUNTIMES.items():
            userland = arm64_userland.build(options.cache.resolve(), runtime=package)
            for kernels in KERNELS:
                proved = kernels if (runtime, kernels) in PROVED else "reference"
                record = out / f"here-{proved}" / "predictions.json"
                asked = ["--runtime", runtime, "--kernels", kernels, "--compare", str(record)]
                target, began = out / f"{cpu}-{runtime}-{kernels}", time.perf_counter()
                report = validate(emulated(userland, cpu, out), [*given, *asked], target)
                same &= row(cpu, runtime, kernels, report, time.perf_counter() - began)
                reports.append(str(target / "report.json"))
    print(f"\nQEMU {userland.qemu}, user mode; the same bytes as proved: {'yes' if same else 'NO'}")
    merged = [*here, "validate", "--merge", *reports, "--out", str(out / "merged")]
    said = subprocess.run(merged, capture_output=True, text=True, check=False).stdout
    print("\n".join(line for line in said.splitlines() if ": the same bytes, " in line))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
