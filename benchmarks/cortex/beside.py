"""What networks cost on a Raspberry Pi beside what they take on x86: the table of the docs.

    python benchmarks/cortex/beside.py --cache DIR --models DIR [--python TENSORFLOW_PYTHON]
        [--sizes paper,tiny,nano] [--write docs/benchmarks.md]

For each size our int8 file, its float32 twin and the networks of `rivals.py` at the same input
size; files are made in the folder of models, or found there. Instructions and cycles as count.py
gives them. The milliseconds are those that the table of `side_by_side.py` in the same Markdown
file shows: nothing is timed here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from attribution import Cost, total
from count import CPUS, Counter
from networks import twin
from rivals import KERAS, keras_file
from side_by_side import OURS, between, ours, put

from qlvit_edge.converters.routes.environment import find_python

NAME = "cortex"
YARDSTICK = ("MobileNetV2, int8", 224)
_ROW = re.compile(r"\| ([^|]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|")


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
        network: its name, as in the table of `side_by_side.py`.
        side: input size in pixels.
        costs: by processor.
    """

    network: str
    side: int
    costs: Mapping[str, Cost]


def files(size: str, python: Path | None, folder: Path) -> tuple[int, list[tuple[str, Path]]]:
    """Return the input size, and name and file of each network at one of our sizes."""
    checkpoint, own = ours(size, folder)
    side, classes = checkpoint.run.network.input_size[0], checkpoint.run.network.classes
    floating = folder / f"{size}-float32.tflite"
    if not floating.is_file():
        floating.write_bytes(twin(checkpoint, "log2"))
    found = [(f"{OURS} {size}, int8", own), (f"{OURS} {size}, float32", floating)]
    for name in KERAS:
        path = folder / f"{name}-{side}.tflite"
        if not path.is_file():
            path = keras_file(find_python(python), name, side, classes, folder)
        found.append((f"{name}, int8", path))
    return side, found


def timed(text: str) -> dict[tuple[str, int], tuple[str, str]]:
    """Read milliseconds and ratio to ours, by network and pixels, from a table of rows.

    The table is that of `side_by_side.py`; its ratios are medians over rounds, which those of
    the milliseconds are not.
    """
    return {
        (match[1].strip(), int(match[2])): (match[3], match[4])
        for line in text.splitlines()
        if (match := _ROW.match(line))
    }


def table(rows: list[Row], times: Mapping[tuple[str, int], tuple[str, str]]) -> str:
    """Return the Markdown table; a row of ours begins each group of one input size.

    Raises:
        ValueError: the network that all are compared with is missing.
    """
    found = [row for row in rows if (row.network, row.side) == YARDSTICK]
    if not found:
        raise ValueError(f"no row of {YARDSTICK[0]} at {YARDSTICK[1]} px")
    cpus = list(found[0].costs)
    heads = ["network", "px"]
    for cpu in cpus:
        short = cpu.removeprefix("cortex-").upper()
        heads += [f"{short}: million", "cycles", "× ours", "× MobileNetV2"]
    heads += ["x86: ms", "× ours"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    own = rows[0]
    for row in rows:
        own = row if row.side != own.side else own
        cells = [row.network, str(row.side)]
        for cpu in cpus:
            cost = row.costs[cpu]
            cells += [
                f"{cost.instructions / 1e6:.2f}",
                f"{cost.cycles / 1e6:.2f}",
                f"{cost.instructions / own.costs[cpu].instructions:.2f}",
                f"{cost.cycles / found[0].costs[cpu].cycles:.3f}",
            ]
        cells += times.get((row.network, row.side), ("–", "–"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the files, count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--python", type=Path, help="Python with TensorFlow; default: found")
    parser.add_argument("--sizes", default="paper,tiny,nano")
    parser.add_argument("--write", type=Path, help="Markdown file to put the table into")
    options = parser.parse_args()
    counter = Counter(options.cache)
    options.models.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in options.sizes.split(","):
        side, found = files(size, options.python, options.models.resolve())
        for network, path in found:
            costs = {cpu: total(counter.count(path, cpu, cycles=True)) for cpu in CPUS.split(",")}
            rows.append(Row(network, side, costs))
            print(network, side, costs, file=sys.stderr, flush=True)
    text = options.write.read_text(encoding="utf-8") if options.write else ""
    made = table(rows, timed(between(text)))
    print(made)
    if options.write:
        put(options.write, made, NAME)


if __name__ == "__main__":
    main()
