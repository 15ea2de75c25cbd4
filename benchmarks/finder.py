"""How well the stain-based finder finds white cells on real fields, also on degraded copies.

    python benchmarks/finder.py --bccd bccd-fields --raabin raabin-fields --singles wbc-kaggle pbc

The first folder is the BCCD set's (``Annotations`` with Pascal VOC boxes and ``JPEGImages``, as in
`Shenggan/BCCD_Dataset` on GitHub); of its fields those named in ``names/bccd-fields.txt`` are
measured, or with ``--all`` every one. The second has ``images`` and ``labels`` (YOLO rows, 0 is a
white cell). The finder was developed on half of its fields (`developed_on`); the other half was
only scored. Cells match boxes one to one at an overlap of at least 0.5. Prints one row per set and
degradation. ``--singles``: folders of one folder per class, about one cell per image; prints the
share of images with a main cell, and with one over the image's middle.
"""

from __future__ import annotations

import argparse
import hashlib
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.finder import Cell, find_cells, main_cell
from qlvit_edge.preprocess import decode, luminance

Box = tuple[float, float, float, float]
Image = NDArray[np.uint8]
NAMES = Path(__file__).parent / "names" / "bccd-fields.txt"
LEAST_OVERLAP = 0.5


def _times(*factors: float) -> Callable[[Image], Image]:
    return lambda image: np.clip(image * np.array(factors), 0, 255).round().astype(np.uint8)


def _power(gamma: float) -> Callable[[Image], Image]:
    table = (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
    return lambda image: table[image]


def _blurred(share: float) -> Callable[[Image], Image]:
    """Blurred by a share of the short side."""
    return lambda image: np.asarray(
        cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2])), np.uint8
    )


def _scaled(factor: float) -> Callable[[Image], Image]:
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return lambda image: np.asarray(
        cv2.resize(image, None, fx=factor, fy=factor, interpolation=way), np.uint8
    )


DEGRADED: dict[str, Callable[[Image], Image]] = {
    "as it is": lambda image: image,
    "brightness -40 %": _times(0.6, 0.6, 0.6),
    "brightness +40 %": _times(1.4, 1.4, 1.4),
    "red -30 %": _times(0.7, 1, 1),
    "red +30 %": _times(1.3, 1, 1),
    "green -30 %": _times(1, 0.7, 1),
    "green +30 %": _times(1, 1.3, 1),
    "blue -30 %": _times(1, 1, 0.7),
    "blue +30 %": _times(1, 1, 1.3),
    "gamma 0.5": _power(0.5),
    "gamma 2": _power(2.0),
    "blur 0.6 %": _blurred(0.006),
    "scale 0.6": _scaled(0.6),
    "scale 1.6": _scaled(1.6),
    "grey": lambda image: luminance(image).repeat(3, 2),
}
"""What is done to the fields before the search; blur is a share of the short side."""


@dataclass
class Tally:
    """What was found in a set of fields."""

    boxes: int = 0
    found: int = 0
    overlaps: list[float] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, boxes: Sequence[Box], cells: Sequence[Cell], scale: float) -> None:
        """Match cells with boxes one to one, best overlap first; ``scale`` of the cells."""
        self.boxes, self.found = self.boxes + len(boxes), self.found + len(cells)
        pairs = sorted(
            (
                (overlap(cell, box, scale), i, j)
                for i, cell in enumerate(cells)
                for j, box in enumerate(boxes)
            ),
            reverse=True,
        )
        taken: set[tuple[str, int]] = set()
        for value, i, j in pairs:
            if value < LEAST_OVERLAP or taken & {("cell", i), ("box", j)}:
                continue
            taken |= {("cell", i), ("box", j)}
            self.overlaps.append(value)
            x0, y0, x1, y1 = boxes[j]
            longer = max(cells[i].width, cells[i].height) / scale
            self.sides.append(longer / max(x1 - x0, y1 - y0))

    def row(self, name: str) -> str:
        """The figures as one row of a Markdown table."""
        matched = len(self.overlaps)
        recall = 100 * matched / max(1, self.boxes)
        precision = 100 * matched / max(1, self.found)
        return (
            f"| {name} | {self.boxes} | {self.found} | {recall:.1f} | {precision:.1f} | "
            f"{np.median(self.overlaps or [0]):.2f} | {np.median(self.sides or [0]):.2f} | "
            f"{1e3 * np.median(self.seconds):.1f} |"
        )


def bccd_boxes(annotation: Path) -> list[Box]:
    """Return the (x0, y0, x1, y1) boxes labelled WBC in a VOC file."""
    boxes = []
    for thing in ElementTree.parse(annotation).getroot().iter("object"):
        if thing.findtext("name") == "WBC":
            box = thing.find("bndbox")
            assert box is not None
            x0, y0, x1, y1 = (float(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((x0, y0, x1, y1))
    return boxes


def raabin_boxes(labels: Path, width: int, height: int) -> list[Box]:
    """Return the (x0, y0, x1, y1) boxes of class 0 in a file of YOLO rows."""
    boxes = []
    for line in labels.read_text(encoding="utf-8").splitlines():
        kind, *values = line.split()
        x, y, w, h = (float(value) for value in values)
        if kind == "0":
            boxes.append(
                (
                    (x - w / 2) * width,
                    (y - h / 2) * height,
                    (x + w / 2) * width,
                    (y + h / 2) * height,
                )
            )
    return boxes


def developed_on(name: str) -> bool:
    """Whether the finder was developed on a field of the second set: by its file name's hash."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 0


def overlap(cell: Cell, box: Box, scale: float = 1.0) -> float:
    """Return intersection over union; ``scale`` pixels of the cell are one of the box."""
    x0, y0 = cell.x / scale, cell.y / scale
    x1, y1 = (cell.x + cell.width) / scale, (cell.y + cell.height) / scale
    width = min(x1, box[2]) - max(x0, box[0])
    height = min(y1, box[3]) - max(y0, box[1])
    shared = max(0.0, width) * max(0.0, height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(shared / ((x1 - x0) * (y1 - y0) + area - shared))


def measure(fields: Sequence[tuple[Image, list[Box]]], degrade: Callable[[Image], Image]) -> Tally:
    """Search degraded copies of fields."""
    tally = Tally()
    for image, boxes in fields:
        shown = degrade(image)
        started = time.thread_time()
        cells = find_cells(shown)
        tally.seconds.append(time.thread_time() - started)
        tally.add(boxes, cells, shown.shape[1] / image.shape[1])
    return tally


def bccd(folder: Path, names: Sequence[str]) -> Iterator[tuple[Image, list[Box]]]:
    """The fields of the first set with their boxes."""
    for name in names:
        boxes = bccd_boxes(folder / "Annotations" / f"{name}.xml")
        yield decode(folder / "JPEGImages" / f"{name}.jpg"), boxes


def raabin(folder: Path, *, developed: bool, every: int) -> Iterator[tuple[Image, list[Box]]]:
    """The fields of one half of the second set with their boxes."""
    paths = [
        path
        for path in sorted((folder / "images").glob("*.jpg"))
        if developed_on(path.name) == developed
    ]
    for path in paths[::every]:
        image = decode(path)
        labels = folder / "labels" / f"{path.stem}.txt"
        yield image, raabin_boxes(labels, image.shape[1], image.shape[0])


def measure_singles(folder: Path, every: int) -> str:
    """Look for the main cell of every ``every``-th image of a one-folder-per-class tree."""
    found: list[bool] = []
    central: list[bool] = []
    for path in sorted(path for path in folder.glob("*/*") if path.is_file())[::every]:
        image = decode(path)
        cell = main_cell(image)
        found.append(cell is not None)
        x, y = image.shape[1] / 2, image.shape[0] / 2
        central.append(
            cell is not None
            and cell.x <= x <= cell.x + cell.width
            and cell.y <= y <= cell.y + cell.height
        )
    return (
        f"{folder.name}: {len(found)} images, {100 * np.mean(found):.1f} % with a main cell, "
        f"{100 * np.mean(central):.1f} % with one over the middle"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bccd", type=Path, help="folder of the BCCD set")
    parser.add_argument("--all", action="store_true", help="every annotated field of it")
    parser.add_argument("--raabin", type=Path, help="folder of the second set")
    parser.add_argument("--singles", type=Path, nargs="*", default=[], help="folders by class")
    parser.add_argument("--every", type=int, default=1, help="measure every n-th image only")
    parser.add_argument("--as-they-are", action="store_true", help="no degraded copies")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sets = {}
    if arguments.bccd is not None:
        names = NAMES.read_text(encoding="utf-8").split()
        if arguments.all:
            names = sorted(path.stem for path in (arguments.bccd / "Annotations").glob("*.xml"))
        sets["bccd"] = list(bccd(arguments.bccd, names[:: arguments.every]))
    if arguments.raabin is not None:
        for developed, name in ((True, "raabin, developed on"), (False, "raabin, only scored")):
            sets[name] = list(raabin(arguments.raabin, developed=developed, every=arguments.every))
    for name, fields in sets.items():
        print(f"\n{name}: {len(fields)} fields\n")
        print("| fields | cells | found | recall % | precision % | overlap | side | ms (CPU) |")
        print("|---|---|---|---|---|---|---|---|")
        for kind, degrade in DEGRADED.items():
            if kind == "as it is" or not arguments.as_they_are:
                print(measure(fields, degrade).row(kind), flush=True)
    for folder in arguments.singles:
        print(measure_singles(folder, arguments.every), flush=True)


if __name__ == "__main__":
    main()
