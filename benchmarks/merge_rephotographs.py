"""Join the sources of a `--groups` file that are photographs of the same field.

Some fields of the BCCD collection were photographed twice. Copies of both photographs are
copies of the same cells, so a source-disjoint split has to keep them on one side.

    python benchmarks/merge_rephotographs.py source_map.csv field_index.csv groups.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main(source_map: Path, field_index: Path, out: Path) -> None:
    """Write ``source_map`` with each source replaced by its group of re-photographs."""
    with field_index.open(encoding="utf-8", newline="") as file:
        group = {row["file"]: row["near_dup_group"] for row in csv.DictReader(file)}
    with source_map.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    merged = 0
    for row in rows:
        joined = group.get(row["source"], "")
        merged += bool(joined)
        row["source"] = joined or row["source"]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{out}: {merged} of {len(rows)} rows belong to a re-photographed field")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
