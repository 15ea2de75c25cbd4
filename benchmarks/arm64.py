"""The bundled models on emulated arm64 processors, against outputs recorded on x86-64.

    python benchmarks/arm64.py --cache DIR [--limit 12] [--cpu cortex-a72,cortex-a76]
        [--litert 2.2.0]

Builds a Bookworm arm64 userland in DIR (about 0.6 GB; needs mmdebstrap and package sources),
runs `outputs.py` in it under QEMU's user mode and compares with `tests/fixtures/outputs_x86.json`:
decoded pixels and network inputs, all logits, and every tensor of both kernel sets by checksum.
Golden pairs must hold. `hazard.py` then runs the directed case of an int8 BATCH_MATMUL, `forms.py`
cases near ties, where x86-64 and arm64 round MUL and MEAN differently. The record
is made on x86-64 by `make record`.

Exit code 1 if anything differs at all, a golden pair fails, XNNPACK did not run, or the directed
case comes out otherwise than is known of the processor.
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
from outputs import made_tensors

from qlvit_edge import bundled
from qlvit_edge.modelfile.reader import read_bytes

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "fixtures" / "outputs_x86.json"
KERNELS = {"auto": "default", "reference": "BUILTIN_REF"}
WRAPPING = ("cortex-a57", "cortex-a72")
"""Processors whose int8 BATCH_MATMUL wraps where both operands hold -128; see `hazard.py`."""


def emulate(userland: arm64_userland.Userland, cpu: str, script: str, *arguments: str) -> str:
    """Run a script of this folder on an emulated processor; returns what it printed."""
    command = userland.command(cpu, Path(__file__).parent / script, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        arm64_userland.fail(f"{cpu}: ended with {done.returncode} ({last}); see QEMU's notes")
    return done.stdout


def outputs(userland: arm64_userland.Userland, cpu: str, limit: int) -> dict[str, Any]:
    """Run `outputs.py` on an emulated processor."""
    inside = userland.folder / "project" / "qlvit_edge" / "bundled"
    models = [str(path) for path in sorted(inside.glob("*/*.tflite"))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outputs.json"
        options = ("--images", str(inside), "--limit", str(limit), "--out", str(out))
        emulate(userland, cpu, "outputs.py", *models, *options)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def same(recorded: dict[str, str], found: dict[str, str]) -> str:
    """Say how many hashes of `found` are the recorded ones."""
    equal = sum(recorded.get(name) == value for name, value in found.items())
    return f"{equal} of {len(found)}"


def same_tensors(recorded: dict[str, Any], found: dict[str, Any], names: list[str]) -> str:
    """Say how many tensors are the recorded ones in all images, and which are not, if any."""
    pairs = zip(recorded["tensors"].split(), found["tensors"].split(), strict=True)
    unequal = [name for name, (a, b) in zip(names, pairs, strict=True) if a != b]
    first = f" (not {', '.join(unequal[:3])}{', …' if len(unequal) > 3 else ''})" if unequal else ""
    return f"{len(names) - len(unequal)} of {len(names)}{first}"


def compare(cpu: str, found: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Print a row for every model and kernel set; tells whether everything is equal."""
    equal = found["machine"] == "aarch64" and found["packages"] == recorded["packages"]
    equal &= found["images"].items() <= recorded["images"].items()
    for name, entry in found["models"].items():
        there = recorded["models"].get(name)
        if there is None or there["sha256"] != entry["sha256"]:
            arm64_userland.fail(f"{name}: not the recorded file; record it again on x86-64")
        equal &= entry["inputs"].items() <= there["inputs"].items()
        names = made_tensors(read_bytes(bundled.resolve_model(name)))
        for kernels, title in KERNELS.items():
            ours, theirs = entry[kernels], there[kernels]
            every, golden = ours["every_tensor"], ours["golden"]
            equal &= ours["logits"].items() <= theirs["logits"].items()
            equal &= every == theirs["every_tensor"] and ours["ran"] == theirs["ran"]
            equal &= golden["passed"] is True
            equal &= kernels != "auto" or ours["ran"].startswith("XNNPACK (")
            cells = (
                *(cpu, name, title, ours["ran"], same(there["inputs"], entry["inputs"])),
                same(theirs["logits"], ours["logits"]),
                same_tensors(theirs["every_tensor"], every, names),
                same(theirs["every_tensor"]["images"], every["images"]),
                f"{golden['equal']} of {golden['compared']}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    return bool(equal)


def hazard(userland: arm64_userland.Userland, cpu: str) -> bool:
    """Print what the directed case gives; tells whether that is what is known of the processor."""
    steps = json.loads(emulate(userland, cpu, "hazard.py"))["steps"]
    said = ", ".join(f"{kind}: {distance}" for kind, distance in steps.items())
    print(f"\n{cpu}: int8 BATCH_MATMUL, steps from the specification with operands of {said}")
    wraps = steps.pop("both -128") > 0
    return wraps == (cpu in WRAPPING) and not any(steps.values())


def forms(userland: arm64_userland.Userland, cpu: str) -> bool:
    """Print what cases near ties give; tells whether all of them are arm64's form."""
    found = json.loads(emulate(userland, cpu, "forms.py"))
    for kind, counts in found.items():
        said = ", ".join(f"{what} {count}" for what, count in counts.items())
        print(f"{cpu}: {kind} near ties: {said}")
    return all(c["unequal"] == 0 < c["unlike the other form"] for c in found.values())


def main() -> int:
    """Build, run, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76")
    parser.add_argument("--litert", help="version of ai-edge-litert; the recorded one by default")
    options = parser.parse_args()
    recorded = json.loads(RECORD.read_text())
    userland = arm64_userland.build(options.cache.resolve(), options.litert)
    recorded["packages"]["ai-edge-litert"] = (
        options.litert or recorded["packages"]["ai-edge-litert"]
    )
    versions = ", ".join(f"{name} {number}" for name, number in recorded["packages"].items())
    print(f"{versions}; QEMU {userland.qemu}, user mode; recorded on {recorded['machine']}\n")
    headings = (
        "processor | model | kernels | ran | inputs | logits | tensors | images | golden pairs"
    )
    print(f"| {headings} |\n|{'---|' * (headings.count('|') + 1)}")
    failed = False
    for cpu in options.cpu.split(","):
        began = time.perf_counter()
        found = outputs(userland, cpu, options.limit)
        failed |= not compare(cpu, found, recorded)
        failed |= not hazard(userland, cpu)
        failed |= not forms(userland, cpu)
        decoded = same(recorded["images"], found["images"])
        seconds = time.perf_counter() - began
        print(f"{cpu}: decoded pixels equal in {decoded} images; {seconds:.0f} s\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
