"""How well the stain-based finder finds white cells on real fields.

Run as ``python benchmarks/finder.py DATA``; DATA holds ``bccd-fields`` (Pascal VOC boxes)
and ``wbc-kaggle`` (one folder per class, about one white cell per image). Prints recall,
precision and box overlap on the first, the share of images with a cell on the second.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from qlvit_edge.fields.finder import Cell, find_cells
from qlvit_edge.preprocess import decode, luminance

Box = tuple[float, float, float, float]


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


def measure_fields(folder: Path, *, grey: bool) -> dict[str, float]:
    """Match found cells one to one with the boxes (overlap ≥ 0.3), best overlap first.

    Args:
        folder: the fields with their boxes.
        grey: search the fields' luminance, as a camera without colour gives it.
    """
    truth = found = matched = 0
    overlaps: list[float] = []
    ratios: list[float] = []
    for annotation in sorted((folder / "Annotations").glob("*.xml")):
        image = decode(folder / "JPEGImages" / f"{annotation.stem}.jpg")
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=20, help="of wbc-kaggle, one image in N")
    arguments = parser.parse_args()
    figures = {
        "bccd-fields": measure_fields(arguments.data / "bccd-fields", grey=False),
        "bccd-fields, grey": measure_fields(arguments.data / "bccd-fields", grey=True),
        "wbc-kaggle": measure_copies(arguments.data / "wbc-kaggle", arguments.every),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
