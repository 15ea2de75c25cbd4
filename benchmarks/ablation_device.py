"""What every step of the ablation (MViTv2, V0 … V4) costs on a device.

    python benchmarks/ablation_device.py [--size nano|tiny|paper] [--variants mvitv2,v0,...]
        [--cache DIR] [--cpu cortex-a72,cortex-a76] [--rounds 40] [--files DIR] [--json OUT]

The counterpart of the paper's Table 4, but for accuracy and training time, which
`benchmarks/ablation.py` measures. Weights are random (seed 0); normalisation and ranges have seen
the bundled crops: neither counts nor times depend on what a network knows. For every variant, both
counts of parameters, the products of the network, and for its int8 file (`fast` softmax) and its
float32 file (plain softmax) the size, and

- with `--cache`, instructions that a Cortex-A72 (Raspberry Pi 4) and a Cortex-A76 (Pi 5) execute
  for one image, counted under emulation (`make cortex` says what that needs);
- with `--rounds` above 0, the time on this machine, in turns, as a ratio to V4's int8 file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from networks import twin, untrained
from variants import settle

from qlvit_edge import bundled
from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.safe_products import require_safe_products
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.inference.worker import Case
from qlvit_edge.measuring.benchmark import measure
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.configs import SIZES, size_config
from qlvit_edge.model.cost import count_cost
from qlvit_edge.model.family import VARIANTS, Variant
from qlvit_edge.preprocess import load

ORDER: tuple[Variant, ...] = VARIANTS[::-1]
KINDS = ("int8", "float32")
BASE = ("v4", "int8")  # what times are relative to
CPUS = "cortex-a72,cortex-a76"
CROPS = 4
WARM_UP = 3

Key = tuple[str, str]
"""Variant and kind of file."""


@dataclass
class Found:
    """What is known of a file.

    Attributes:
        bytes: its size.
        instructions: of one inference, by processor.
        time: as a ratio, None if not measured.
    """

    bytes: int
    instructions: dict[str, int] = field(default_factory=dict)
    time: float | None = None


def write_files(size: str, variant: str, folder: Path) -> dict[Key, Path]:
    """Write the int8 and the float32 file of a variant; files that are there are kept."""
    paths = {(variant, kind): folder / f"{size}-{variant}-{kind}.tflite" for kind in KINDS}
    if all(path.is_file() for path in paths.values()):
        return paths
    checkpoint = untrained(size, variant=variant)
    crops = scan(bundled.CROPS).images
    crops = crops[:: -(-len(crops) // CROPS)]
    settle(checkpoint, np.stack([load(c.path, SIZES[size].input_size) for c in crops]))
    calibration = calibrate(checkpoint, crops, "minmax", lambda: None)
    graph = one_arithmetic(integer_graph(checkpoint, calibration, "fast")).graph
    require_safe_products(graph)
    paths[variant, "int8"].write_bytes(write_tflite(graph))
    paths[variant, "float32"].write_bytes(twin(checkpoint, "float"))
    return paths


def count_instructions(
    paths: dict[Key, Path], found: dict[Key, Found], cache: Path, cpus: list[str]
) -> None:
    """Count what processors execute, file by file."""
    sys.path.insert(0, str(Path(__file__).parent / "cortex"))
    from attribution import total
    from count import Counter

    counter = Counter(cache)
    for key, path in paths.items():
        for cpu in cpus:
            found[key].instructions[cpu] = total(counter.count(path, cpu)).instructions
            print(f"{path.name} on {cpu}: {found[key].instructions[cpu]:,}", file=sys.stderr)


def measure_times(paths: dict[Key, Path], found: dict[Key, Found], rounds: int) -> None:
    """Time all files in turns."""
    keys = sorted(paths, key=lambda key: key != BASE)
    rows = measure([Case(" ".join(key), paths[key], 1) for key in keys], rounds, WARM_UP)
    for key, row in zip(keys, rows, strict=True):
        found[key].time = statistics.median(row.ratios)


def table(size: str, found: dict[Key, Found], cpus: list[str]) -> str:
    """Return the table in Markdown, a row per variant, int8 and float32 side by side."""
    titles = ["variant", "parameters, paper-style (M)", "true (M)", "MMAC, true"]
    titles += [f"{kind} kB" for kind in KINDS]
    titles += [f"{cpu}: {kind}, million" for cpu in cpus for kind in KINDS]
    titles += [f"time: {kind}" for kind in KINDS]
    rows = [titles, ["---", *["--:"] * (len(titles) - 1)]]
    for variant in dict.fromkeys(variant for variant, _ in found):
        cost = count_cost(size_config(size, variant=variant))
        files = [found[variant, kind] for kind in KINDS]
        cells = [variant, f"{cost.paper_style.parameters / 1e6:.3f}"]
        cells += [f"{cost.true.parameters / 1e6:.3f}", f"{cost.true.macs / 1e6:.1f}"]
        cells += [f"{file.bytes / 1e3:.0f}" for file in files]
        cells += [_millions(file.instructions.get(cpu)) for cpu in cpus for file in files]
        cells += ["–" if file.time is None else f"{file.time:.2f}" for file in files]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _millions(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--variants", default=",".join(ORDER))
    parser.add_argument("--cache", type=Path, help="where `make cortex` keeps its emulator")
    parser.add_argument("--cpu", default=CPUS)
    parser.add_argument("--rounds", type=int, default=40, help="0 to take no times")
    parser.add_argument("--files", type=Path, help="keep the files here, and use those there are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    variants, cpus = options.variants.split(","), options.cpu.split(",")
    if unknown := [name for name in variants if name not in VARIANTS]:
        parser.error(f"{unknown[0]}: not a variant; choose of {', '.join(ORDER)}")
    with TemporaryDirectory() as temporary:
        folder = options.files or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        paths: dict[Key, Path] = {}
        for variant in variants:
            paths |= write_files(options.size, variant, folder)
        found = {key: Found(path.stat().st_size) for key, path in paths.items()}
        if options.cache:
            count_instructions(paths, found, options.cache, cpus)
        if options.rounds:
            measure_times(paths, found, options.rounds)
    print(f"{options.size}, one thread. {describe_machine().words}\n")
    print(table(options.size, found, cpus if options.cache else []))
    if options.json:
        known: dict[str, Any] = {" ".join(key): asdict(value) for key, value in found.items()}
        options.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
