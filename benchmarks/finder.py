"""How well the stain-based finder finds white cells on real fields.

    python benchmarks/finder.py bccd-fields --copies wbc-kaggle

The first folder is the BCCD set's (``Annotations`` with Pascal VOC boxes and ``JPEGImages``, as in
`Shenggan/BCCD_Dataset` on GitHub); of its fields those named in ``names/bccd-fields.txt`` are
measured, or with ``--all`` every one. The second is the White Blood Cell set's (one folder per
class, about one white cell per image). Prints recall, precision and box overlap on the first, the
share of images with a cell on the second.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qlvit_edge.fields.finder import Cell, find_cells
from qlvit_edge.preprocess import decode, luminance

Box = tuple[float, float, float, float]
NAMES = Path(__file__).parent / "names" / "bccd-fields.txt"


def white_cells(annotation: Path) -> list[Box]:
    """Return the (x0, y0, x1, y1) boxes labelled WBC in a VOC file."""
    boxes = []
    for thing in ElementTree.parse(annotation).getroot().iter("object"):
        if thing.findtext("name") == "WBC":
            box = thing.find("bndbox")
            assert box is not None
            x0, y0, x1, y1 = (float(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((x0, y0, x1, y1))
    return boxes


def overlap(cell: Cell, box: Box) -> float:
    """Return intersection over union."""
    width = min(cell.x + cell.width, box[2]) - max(cell.x, box[0])
    height = min(cell.y + cell.height, box[3]) - max(cell.y, box[1])
    shared = max(0.0, width) * max(0.0, height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(shared / (cell.width * cell.height + area - shared))


def measure_fields(folder: Path, names: Sequence[str], *, grey: bool) -> dict[str, float]:
    """Match found cells one to one with the boxes (overlap ≥ 0.3), best overlap first.

    Args:
        folder: the fields with their boxes.
        names: of the fields to measure, without an ending.
        grey: search the fields' luminance, as a camera without colour gives it.
    """
    truth = found = matched = 0
    overlaps: list[float] = []
    ratios: list[float] = []
    for name in names:
        annotation = folder / "Annotations" / f"{name}.xml"
        image = decode(folder / "JPEGImages" / f"{name}.jpg")
        if grey:
            image = luminance(image).repeat(3, 2)
        boxes, cells = white_cells(annotation), find_cells(image)
        truth, found = truth + len(boxes), found + len(cells)
        pairs = sorted(
            ((overlap(c, b), i, j) for i, c in enumerate(cells) for j, b in enumerate(boxes)),
            reverse=True,
        )
        taken_cells: set[int] = set()
        taken_boxes: set[int] = set()
        for value, i, j in pairs:
            if value >= 0.3 and i not in taken_cells and j not in taken_boxes:
                taken_cells.add(i)
                taken_boxes.add(j)
                matched += 1
                overlaps.append(value)
                b = boxes[j]
                ratios.append(max(cells[i].width, cells[i].height) / max(b[2] - b[0], b[3] - b[1]))
    return {
        "fields": len(names),
        "boxes": truth,
        "found": found,
        "recall_percent": 100 * matched / truth,
        "precision_percent": 100 * matched / found,
        "median_overlap": float(np.median(overlaps)),
        "median_side_ratio": float(np.median(ratios)),
    }


def measure_copies(folder: Path, every: int) -> dict[str, float]:
    """Count cells on every ``every``-th image of a one-folder-per-class tree."""
    counts = [len(find_cells(decode(path))) for path in sorted(folder.glob("*/*.jpeg"))[::every]]
    return {
        "images": len(counts),
        "with_a_cell_percent": 100 * float(np.mean([n > 0 for n in counts])),
        "with_one_cell_percent": 100 * float(np.mean([n == 1 for n in counts])),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fields", type=Path, help="folder of the BCCD set")
    parser.add_argument("--all", action="store_true", help="every annotated field of it")
    parser.add_argument("--copies", type=Path, help="folder of the White Blood Cell set")
    parser.add_argument("--every", type=int, default=20, help="of the copies, one image in N")
    arguments = parser.parse_args()
    names = NAMES.read_text(encoding="utf-8").split()
    if arguments.all:
        names = sorted(path.stem for path in (arguments.fields / "Annotations").glob("*.xml"))
    figures = {
        "colour": measure_fields(arguments.fields, names, grey=False),
        "grey": measure_fields(arguments.fields, names, grey=True),
    }
    if arguments.copies is not None:
        figures["copies"] = measure_copies(arguments.copies, arguments.every)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
