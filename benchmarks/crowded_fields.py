"""Make fields of a wide frame with up to so many white cells each, of the bundled ones.

    python benchmarks/crowded_fields.py FOLDER [--cells 12] [--fields 6] [--size 1280x720]

Several bundled fields stand side by side in one, three across and two down. Kept are those in
which the finder finds nearly as many cells as asked for, and no more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from qlvit_edge import bundled
from qlvit_edge.fields.finder import find_cells

ACROSS, DOWN = 3, 2
TRIES = 400


def make(folder: Path, cells: int, fields: int, size: tuple[int, int]) -> list[int]:
    """Write the fields as JPEG; returns how many cells are found in each.

    Raises:
        ValueError: the bundled fields do not give as many fields with as many cells.
    """
    sources = sorted((Path(bundled.__file__).parent / "fields").glob("*.jpg"))
    width, height = size
    pieces = [
        cv2.resize(image, (width // ACROSS, height // DOWN), interpolation=cv2.INTER_AREA)
        for image in (cv2.imread(str(path)) for path in sources)
    ]
    generator = np.random.default_rng(0)
    counts: list[int] = []
    for _ in range(TRIES):
        chosen = [pieces[place] for place in generator.integers(len(pieces), size=ACROSS * DOWN)]
        rows = [np.hstack(chosen[row * ACROSS : (row + 1) * ACROSS]) for row in range(DOWN)]
        field = cv2.resize(np.vstack(rows), size)
        found = len(find_cells(np.ascontiguousarray(field[..., ::-1])))
        if 0.8 * cells <= found <= cells:
            counts.append(found)
            cv2.imwrite(str(folder / f"field_{len(counts):03}.jpg"), field)
        if len(counts) == fields:
            return counts
    raise ValueError(f"{len(counts)} of {fields} fields with {cells} cells after {TRIES} tries")


def main() -> None:
    """Write the fields and say what is in them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    options.folder.mkdir(parents=True, exist_ok=True)
    counts = make(options.folder, options.cells, options.fields, (width, height))
    print(f"{len(counts)} fields, cells in each: {', '.join(map(str, counts))}")


if __name__ == "__main__":
    main()
