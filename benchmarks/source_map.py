"""Writes the source map of the White Blood Cell set that `wbc-nano` was split by.

The map says which photograph each copy was made from, as far as that is known for sure;
photographs of one field count as one (see ``merge_rephotographs.py``). It travels in that
model's split.json; here it becomes the CSV that `qlvit-edge data split --groups` reads.

    python benchmarks/source_map.py groups.csv
    qlvit-edge data split wbc-kaggle --groups groups.csv --seed 0 --out source.json
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.data.split import load_split

SPLIT = bundled.FOLDER / "wbc-nano" / "split.json"


def write_source_map(out: Path) -> int:
    """Write one row per image and return their number; images of unknown source say so."""
    split = load_split(SPLIT)
    names = sorted([*split.train, *split.test, *split.left_out])
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "file", "source", "confident"])
        for name in names:
            source = split.groups.get(name, "")
            writer.writerow([*name.split("/"), source, int(bool(source))])
    return len(names)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(f"{target}: {write_source_map(target)} images")
