"""Cuts the package's crops out of the fields of the BCCD set, and lists them in ATTRIBUTION.md.

    python benchmarks/bundled_crops.py bccd-fields

`bccd-fields` is the BCCD set (GitHub, `Shenggan/BCCD_Dataset`): ``JPEGImages`` and ``Annotations``.
Chosen are cells whose photographs have no copy in any training: none in the training part of the
White Blood Cell set that is known for sure (the others are in its test part, or in neither). A
white cell's square is the longer side of its box plus 40 %. A platelet's is as large as that of the
field's first white cell, since that is how much a network sees of a slide at once.
"""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.preprocess import decode, resize

BUNDLED = Path(__file__).parents[1] / "qlvit_edge" / "bundled"
LARGEST = 160  # pixels
MARGIN = 1.4
NOT_THERE = "no augmented copy in the set"
TEST_PART = "no copy in the training part of the set"
UNSURE = "no copy that is known for sure; what may be one is left out of training"

CELLS: dict[str, dict[str, str]] = {
    "basophil": {"00008": UNSURE, "00132": TEST_PART},
    "eosinophil": {
        **dict.fromkeys(("00010b", "00044a", "00070a"), NOT_THERE),
        **dict.fromkeys(("00160", "00165", "00187", "00208", "00240"), TEST_PART),
    },
    "lymphocyte": {
        **dict.fromkeys(("00070b", "00176b", "00195a"), NOT_THERE),
        **dict.fromkeys(("00191", "00217", "00224"), TEST_PART),
    },
    "monocyte": {
        **dict.fromkeys(("00043b", "00176a"), NOT_THERE),
        **dict.fromkeys(("00262", "00318"), TEST_PART),
    },
    "neutrophil": {
        **dict.fromkeys(("00010a", "00043a", "00065a", "00065b", "00313b"), NOT_THERE),
        **dict.fromkeys(("00161", "00197", "00322"), TEST_PART),
    },
    "platelet": {
        **dict.fromkeys(("00117p0", "00195p0"), NOT_THERE),
        **dict.fromkeys(("00156p2", "00160p0"), TEST_PART),
    },
}
"""Class → cell → what is known of its photograph. A cell is the field's number and, where the field
has several, which: `a` and `b` the white cells, `p0`, `p1` … the platelets, in the order of the
annotations."""

Box = tuple[int, int, int, int]


def boxes(annotation: Path, kind: str) -> list[Box]:
    """Return the boxes (left, top, right, bottom) of one kind, in the file's order."""
    found = []
    for thing in ET.parse(annotation).getroot().iter("object"):
        box = thing.find("bndbox")
        if thing.findtext("name") == kind and box is not None:
            left, top, right, bottom = (
                int(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            found.append((left, top, right, bottom))
    return found


def square(picture: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """Cut a square around a box, moved inside the picture; at most `LARGEST` pixels a side."""
    left, top, right, bottom = box
    height, width, _ = picture.shape
    side = min(side, height, width)
    x = min(max(round((left + right) / 2 - side / 2), 0), width - side)
    y = min(max(round((top + bottom) / 2 - side / 2), 0), height - side)
    cut = picture[y : y + side, x : x + side]
    return resize(cut, (LARGEST, LARGEST)) if side > LARGEST else cut


def cut(fields: Path, cell: str) -> NDArray[np.uint8]:
    """Cut out the cell of that name, see `CELLS`."""
    name, which = f"BloodImage_{cell[:5]}", cell[5:]
    annotation = fields / "Annotations" / f"{name}.xml"
    white = boxes(annotation, "WBC")
    platelet = which.startswith("p")
    box = boxes(annotation, "Platelets")[int(which[1:])] if platelet else white["ab".find(which)]
    left, top, right, bottom = white[0] if platelet else box
    side = round(max(right - left, bottom - top) * MARGIN)
    return square(decode(fields / "JPEGImages" / f"{name}.jpg"), box, side)


def main(fields: Path) -> None:
    """Write the crops and the table."""
    crops, text = BUNDLED / "crops", BUNDLED / "ATTRIBUTION.md"
    shutil.rmtree(crops)
    rows = []
    for label, cells in CELLS.items():
        (crops / label).mkdir(parents=True)
        for cell, known in cells.items():
            name = f"{label}/BloodImage_{cell}.png"
            cv2.imwrite(str(crops / name), np.ascontiguousarray(cut(fields, cell)[:, :, ::-1]))
            rows.append(f"| `crops/{name}` | {known} |\n")
    head, mark, _ = text.read_text(encoding="utf-8").partition("|---|---|\n")
    text.write_text(head + mark + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
