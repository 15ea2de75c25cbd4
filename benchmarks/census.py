"""How well red cells, platelets and bright cells are found and counted.

    python benchmarks/census.py --bccd bccd-fields --raabin raabin-fields --hep2 hep2

The first two folders are those of `benchmarks/finder.py`, with the boxes of red cells and
platelets. Parameters were chosen on the half of each set that a hash of the file's name tells
(`developed_on`); the other half was only scored. Red cells match boxes one to one at an overlap of
at least 0.4, platelets where the middle of one lies in the box. Counts of red cells are compared
field by field under the counting frame, on both sides. The third folder has 78 × 78 images of
fluorescent cells, one folder per class: fields of 640 × 480 are composed of those with an odd place
in their folder, 4 to 26 cells each, on grounds of three levels with a slope, in three strengths of
noise, in every second field touching. Prints one row per set.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from finder import developed_on
from numpy.typing import NDArray

from qlvit_edge.fields.bright import find_bright_cells
from qlvit_edge.fields.census import census, is_counted
from qlvit_edge.fields.finder import find_cells
from qlvit_edge.fields.red_cells import Box
from qlvit_edge.preprocess import decode

Image = NDArray[np.uint8]
Field = tuple[Image, list[Box], list[Box]]
"""A field, and the boxes of its red cells and of its platelets."""

LEAST_OVERLAP = 0.4
TOUCHING = 4.0
"""Annotators' boxes that come so near to a border, in pixels, touch it."""


def overlap(first: Box, second: Box) -> float:
    """Return intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def middle_within(first: Box, second: Box) -> float:
    """Return 1 where the middle of the first lies in the second, else 0."""
    x, y = (first[0] + first[2]) / 2, (first[1] + first[3]) / 2
    return float(second[0] <= x <= second[2] and second[1] <= y <= second[3])


def matched(found: Sequence[Box], boxes: Sequence[Box], *, red: bool) -> int:
    """How many are the same, one to one, best first."""
    alike = overlap if red else middle_within
    pairs = sorted(
        ((alike(one, box), i, j) for i, one in enumerate(found) for j, box in enumerate(boxes)),
        reverse=True,
    )
    taken: set[tuple[str, int]] = set()
    for value, i, j in pairs:
        if value >= LEAST_OVERLAP and not taken & {("found", i), ("box", j)}:
            taken |= {("found", i), ("box", j)}
    return len(taken) // 2


def bccd(folder: Path, *, developed: bool) -> Iterator[Field]:
    """The fields of one half of the first set."""
    for path in sorted((folder / "Annotations").glob("*.xml")):
        name = f"{path.stem}.jpg"
        if developed_on(name) != developed:
            continue
        kinds: dict[str, list[Box]] = {"RBC": [], "Platelets": [], "WBC": []}
        for thing in ElementTree.parse(path).getroot().iter("object"):
            box = thing.find("bndbox")
            assert box is not None
            x0, y0, x1, y1 = (float(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax"))
            kinds[thing.findtext("name") or ""].append((x0, y0, x1, y1))
        yield decode(folder / "JPEGImages" / name), kinds["RBC"], kinds["Platelets"]


def raabin(folder: Path, *, developed: bool) -> Iterator[Field]:
    """The fields of one half of the second set."""
    for path in sorted((folder / "images").glob("*.jpg")):
        if developed_on(path.name) != developed:
            continue
        image = decode(path)
        height, width = image.shape[:2]
        kinds: dict[str, list[Box]] = {"0": [], "1": [], "2": []}
        for line in (folder / "labels" / f"{path.stem}.txt").read_text("utf-8").splitlines():
            kind, *values = line.split()
            x, y, w, h = (float(value) for value in values)
            box = ((x - w / 2) * width, (y - h / 2) * height)
            kinds[kind].append((*box, (x + w / 2) * width, (y + h / 2) * height))
        yield image, kinds["1"], kinds["2"]


def smear_rows(name: str, fields: Sequence[Field]) -> tuple[str, str]:
    """Search fields of a smear; one row of each of two tables: red cells and platelets."""
    red, platelets = np.zeros(3, int), np.zeros(3, int)
    errors = []
    for image, boxes, small in fields:
        seen = census(image, find_cells(image))
        if seen is None:
            raise SystemExit(f"{name}: a field with cells too small to be counted")
        red += matched(seen.red, boxes, red=True), len(seen.red), len(boxes)
        platelets += (
            matched(seen.platelets, small, red=False),
            len(seen.platelets),
            len(small),
        )
        true = sum(is_counted((box[0] - TOUCHING, box[1] - TOUCHING, 0, 0)) for box in boxes)
        if true:
            errors.append((seen.red_cells - true) / true)
    first = (
        f"| {name} | {len(fields)} | {red[2]} | {100 * np.median(np.abs(errors)):.1f} | "
        f"{100 * np.median(errors):+.1f} | {_rates(red)} |"
    )
    return first, f"| {name} | {len(fields)} | {platelets[2]} | {_rates(platelets)} |"


def _rates(counts: NDArray[np.int_]) -> str:
    """Recall and precision of (matched, found, boxes)."""
    same, found, boxes = counts.tolist()
    return f"{100 * same / max(1, boxes):.1f} | {100 * same / max(1, found):.1f}"


def composed(crops: Sequence[Image], seed: int) -> tuple[Image, list[Box]]:
    """A fluorescence field of (480, 640, 3), and the boxes of its cells."""
    draw = np.random.default_rng(seed)
    height, width, half = 480, 640, 39
    count, level, noise = (4, 10, 18, 26)[seed % 4], (5, 15, 30)[seed % 3], (1, 3, 6)[seed % 3]
    field = np.full((height, width), float(level)) + level / 2 * np.linspace(-1, 1, width)
    down, across = np.mgrid[-half:half, -half:half]
    soft = np.clip((36 - np.hypot(down, across)) / 6, 0, 1)
    places: list[tuple[int, int]] = []
    for _ in range(30 * count):
        x, y = int(draw.integers(0, width)), int(draw.integers(0, height))
        least = 60 if seed % 2 else 84
        if len(places) == count or any(np.hypot(x - u, y - v) < least for u, v in places):
            continue
        places.append((x, y))
        crop = crops[draw.integers(len(crops))].astype(float)
        light = level + np.maximum(crop - np.percentile(crop, 5), 0) * soft
        left, top = max(0, x - half), max(0, y - half)
        right, bottom = min(width, x + half), min(height, y + half)
        shown = light[top - y + half : bottom - y + half, left - x + half : right - x + half]
        field[top:bottom, left:right] = np.maximum(field[top:bottom, left:right], shown)
    field += draw.normal(0, noise, field.shape)
    grey = np.clip(field, 0, 255).astype(np.uint8)
    boxes = [
        (max(0.0, x - 30.0), max(0.0, y - 30.0), min(640.0, x + 30.0), min(480.0, y + 30.0))
        for x, y in places
    ]
    return grey[:, :, None].repeat(3, 2), boxes


def bright_row(name: str, crops: Sequence[Image], fields: int) -> str:
    """Search composed fields; one row of a table."""
    same = found = cells = 0
    for seed in range(100, 100 + fields):
        image, boxes = composed(crops, seed)
        seen = [
            (float(cell.x), float(cell.y), float(cell.x + cell.width), float(cell.y + cell.height))
            for cell in find_bright_cells(image)
        ]
        same += matched(seen, boxes, red=False)
        found, cells = found + len(seen), cells + len(boxes)
    recall, precision = 100 * same / max(1, cells), 100 * same / max(1, found)
    return f"| {name} | {fields} | {cells} | {recall:.1f} | {precision:.1f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bccd", type=Path, help="folder of the first set")
    parser.add_argument("--raabin", type=Path, help="folder of the second set")
    parser.add_argument("--hep2", type=Path, help="folder of fluorescent cells, by class")
    parser.add_argument("--fields", type=int, default=24, help="composed fields per class")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print("| fields | N | red cells | error % | signed % | recall % | precision % |")
    print("|---|---|---|---|---|---|---|")
    platelets = []
    for read, folder in ((bccd, arguments.bccd), (raabin, arguments.raabin)):
        for developed, half in ((True, "developed on"), (False, "only scored")):
            if folder is not None:
                fields = list(read(folder, developed=developed))
                row, other = smear_rows(f"{read.__name__}, {half}", fields)
                print(row, flush=True)
                platelets.append(other)
    print("\n| fields | N | platelets | recall % | precision % |\n|---|---|---|---|---|")
    print("\n".join(platelets))
    if arguments.hep2 is None:
        return
    print("\n| composed of | fields | cells | recall % | precision % |\n|---|---|---|---|---|")
    every: list[Image] = []
    for folder in sorted(path for path in arguments.hep2.iterdir() if path.is_dir()):
        paths = sorted(folder.glob("*.png"))[1::2]
        crops = [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in paths]
        every += crops[:250]
        print(bright_row(folder.name, crops, arguments.fields), flush=True)
    print(bright_row("all classes", every, arguments.fields), flush=True)


if __name__ == "__main__":
    main()
