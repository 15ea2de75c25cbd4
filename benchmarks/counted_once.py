"""How well cells are counted once on a slide that is moved by hand.

    python benchmarks/counted_once.py --fields bccd-fields/JPEGImages raabin-fields/images

Scenes are slides laid out of 36 real fields each, under the simulated hand-moved stage
(`qlvit_edge.camera.stage`), which knows where every frame really lies. Of the scenes of each
folder those with an odd number are scored; on the even ones (``--developed``) the limits were
chosen. They share no field.

The truth is made without the counter: the finder looks at sharp, evenly lit, still views of the
slide, half a frame apart, and what it finds whole at one true place is one cell. Counted are those
of them that a sharp frame of the run has shown whole. What the finder itself misses is not
measured here (`benchmarks/finder.py`).

A counted cell that lies where another counted cell lies, or where the truth has none, is one too
many; a cell of the truth where none is counted is one too few. One too many is among the doubtful
where it, or the counted cell that lies in its place, is doubtful; one too few where it touches a
counted cell that is doubtful, or is one that was seen only in part, which is said as well. One that
the finder found whole in no frame of the run is the finder's miss, and told apart. Prints
per scene: cells, counted, doubtful, the error of the count and of the count without the doubtful,
too many and too few with how many of these errors are among the doubtful, what a count without
places gives (all findings that no edge cuts, over all frames), frames whose place is wrong, and the
time as a share of the finder's. Each slide is scored under all of `CONDITIONS`.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from qlvit_edge.camera.stage import Handling, StageCamera
from qlvit_edge.fields.finder import Cell, find_cells
from qlvit_edge.slide.quality import Answer
from qlvit_edge.slide.register import SAME_PLACE
from qlvit_edge.slide.tracker import SlideTracker

FIELDS_PER_SLIDE = 36
CONDITIONS = {
    "usual": Handling(),
    "shaking": Handling(jitter=3.0, creep=25.0),
    "blurred": Handling(blur=5.0, exposure=0.4),
    "fast": Handling(speed=0.3, pushes=0.3, longest_stop=3),
    "lamp": Handling(lamp_swing=0.2, lamp_turned=0.4),
    "sparse": Handling(),
}
"""What makes it hard; ``sparse``: two fields of three are empty."""

FAR = 30.0
"""Pixels by which a place is wrong."""

Spot = tuple[float, float, float]
"""Centre (x, y) on the slide and mean side, in pixels."""


@dataclass
class Score:
    """What came out of a scene; adds up.

    Attributes:
        cells: that sharp frames have shown whole.
        counted: unique cells.
        doubtful: of them.
        too_many: counted cells that are others, or none.
        too_many_doubtful: of them.
        too_few: cells that are not counted.
        never_found: of them those that the finder found whole in no frame of the run.
        too_few_doubtful: of the others those that touch a doubtful cell, or are seen only in part.
        sightings: findings that no edge cuts, over all frames.
        misplaced: frames whose place is wrong within their island.
        finder: seconds of the finder.
        slide: seconds of counting once.
    """

    cells: int = 0
    counted: int = 0
    doubtful: int = 0
    too_many: int = 0
    too_many_doubtful: int = 0
    too_few: int = 0
    never_found: int = 0
    too_few_doubtful: int = 0
    sightings: int = 0
    misplaced: int = 0
    finder: float = 0.0
    slide: float = 0.0

    def add(self, other: Score) -> None:
        """Add another scene's."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def line(self, name: str) -> str:
        """Return one row of the table."""
        error = (self.counted - self.cells) / max(self.cells, 1)
        without = (self.counted - self.doubtful - self.cells) / max(self.cells, 1)
        return (
            f"{name:28} {self.cells:6} {self.counted:8} {self.doubtful:9} {error:+7.1%} "
            f"{without:+9.1%} {self.too_many:9} {self.too_many_doubtful:9} {self.too_few:8} "
            f"{self.never_found:8} {self.too_few_doubtful:9} {self.sightings:10} "
            f"{self.misplaced:10} {self.slide / max(self.finder, 1e-9):7.0%}"
        )


HEADER = (
    f"{'scene':28} {'cells':>6} {'counted':>8} {'doubtful':>9} {'error':>7} {'…without':>9} "
    f"{'too many':>9} {'…doubtful':>9} {'too few':>8} {'…unfound':>8} {'…doubtful':>9} "
    f"{'each frame':>10} {'misplaced':>10} {'/finder':>7}"
)


def scenes(folder: Path, developed: bool, most: int) -> Iterator[tuple[str, list[Path], int]]:
    """Give name, images and seed of the scenes of a folder, in the order of the names."""
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".png"})
    numbers = range(len(images) // FIELDS_PER_SLIDE)
    chosen = [number for number in numbers if number % 2 == (0 if developed else 1)]
    for number in chosen[:most]:
        begin = number * FIELDS_PER_SLIDE
        yield f"{folder.parent.name} {number}", images[begin : begin + FIELDS_PER_SLIDE], number


def truth(camera: StageCamera, size: tuple[int, int]) -> list[Spot]:
    """Return the cells of a slide: what the finder finds whole in still views of it."""
    found: list[Spot] = []
    steps = [
        np.unique(np.append(np.arange(0, max(whole - frame, 0) + 1, frame / 2), whole - frame))
        for whole, frame in zip(camera.slide_size, size, strict=True)
    ]
    for y in steps[1]:
        for x in steps[0]:
            for cell in find_cells(camera.still(float(x), float(y))):
                if cell.cut:
                    continue
                spot = _spot(cell, (float(x), float(y)))
                if not any(_same(spot, other) for other in found):
                    found.append(spot)
    return found


def lay_out(images: list[Path], folder: Path, condition: str) -> None:
    """Put the fields of a slide into a folder."""
    for number, image in enumerate(images):
        if condition == "sparse" and number % 3:
            field = np.asarray(cv2.imread(str(image)), np.uint8)
            ground = np.percentile(field.reshape(-1, 3), 90, axis=0).astype(np.uint8)
            cv2.imwrite(str(folder / image.name), np.array(np.broadcast_to(ground, field.shape)))
        else:
            (folder / image.name).symlink_to(image.resolve())


def run(
    images: list[Path], seed: int, frames: int, size: tuple[int, int], condition: str = "usual"
) -> Score:
    """Score one scene."""
    score = Score()
    with tempfile.TemporaryDirectory() as name:
        lay_out(images, Path(name), condition)
        handling = CONDITIONS[condition]
        camera = StageCamera(Path(name), seed=seed, fps=0, size=size, handling=handling)
        spots = truth(camera, size)
        shown: set[int] = set()
        tracker = SlideTracker()
        origins: dict[int, np.ndarray] = {}
        spot_of: dict[int, Spot] = {}
        parts: dict[int, Spot] = {}
        found: set[Spot] = set()
        for index in range(frames):
            image, corner = camera.view(index)[0], camera.corner(index)
            started = time.process_time()
            cells = find_cells(image)
            ended = time.process_time()
            answers = [Answer("cell", "accepted")] * len(cells)
            placement = tracker.add(image, cells, answers)
            score.slide += time.process_time() - ended
            score.finder += ended - started
            whole = [_spot(cell, corner) for cell in cells if not cell.cut]
            found |= {spot for spot in spots if any(_same(spot, other) for other in whole)}
            score.sightings += sum(not cell.cut for cell in cells)
            if placement.island is not None:
                origin = np.subtract(corner, (placement.x, placement.y))
                far = np.abs(origin - origins.setdefault(placement.island, origin)).max()
                score.misplaced += bool(far > FAR)
            if placement.state == "counted":
                shown |= _shown(spots, corner, size)
            for number, cell in zip(placement.numbers, cells, strict=True):
                if number is not None and not cell.cut:
                    spot_of.setdefault(number, _spot(cell, corner))
                elif number is not None:
                    parts[number] = _spot(cell, corner)
            for gone, stays in placement.merged:
                if gone in spot_of:
                    spot_of.setdefault(stays, spot_of[gone])
        cells_shown = [spots[number] for number in sorted(shown)]
        _compare(score, tracker, (spot_of, parts), cells_shown, spots, found)
    return score


def _compare(
    score: Score,
    tracker: SlideTracker,
    where: tuple[dict[int, Spot], dict[int, Spot]],
    cells: list[Spot],
    every: list[Spot],
    found: set[Spot],
) -> None:
    """Match counted cells with true ones, one to one, surest first."""
    spot_of, parts = where
    doubtful = tracker.doubtful_cells()
    counted = {n for island in tracker.islands() for n, *_ in island.cells}
    free = list(every)
    at: dict[Spot, int] = {}
    for number in sorted(counted, key=lambda n: (n in doubtful, n)):
        match = next((spot for spot in free if _same(spot, spot_of[number])), None)
        if match is not None:
            free.remove(match)
            at[match] = number
            if match not in cells:
                cells.append(match)  # at the rim of what counts as shown
        else:
            score.too_many += 1
            rivals = {number, *(n for spot, n in at.items() if _same(spot, spot_of[number]))}
            score.too_many_doubtful += not rivals.isdisjoint(doubtful)
    score.cells = len(cells)
    score.counted, score.doubtful = len(counted), len(counted & doubtful)
    said = [spot_of[number] for number in counted & doubtful]
    said += [spot for number, spot in parts.items() if number in tracker.in_part()]
    for spot in cells:
        if spot in free:
            score.too_few += 1
            if spot not in found:
                score.never_found += 1
                continue
            score.too_few_doubtful += any(
                math.dist(spot[:2], other[:2]) < (spot[2] + other[2]) / 2 for other in said
            )


def _shown(spots: list[Spot], corner: tuple[float, float], size: tuple[int, int]) -> set[int]:
    """The spots that a frame shows with room around them, so that none can be called cut."""
    return {
        number
        for number, (x, y, side) in enumerate(spots)
        if side < x - corner[0] < size[0] - side and side < y - corner[1] < size[1] - side
    }


def _spot(cell: Cell, corner: tuple[float, float]) -> Spot:
    x, y = cell.centre
    return corner[0] + x, corner[1] + y, (cell.width + cell.height) / 2


def _same(one: Spot, other: Spot) -> bool:
    return math.dist(one[:2], other[:2]) < SAME_PLACE * (one[2] + other[2]) / 2


def main() -> None:
    """Run the scenes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=Path, nargs="+", required=True)
    parser.add_argument("--developed", action="store_true", help="the scenes of development")
    parser.add_argument("--frames", type=int, default=600, help="frames per scene")
    parser.add_argument("--scenes", type=int, default=99, help="scenes per folder at most")
    parser.add_argument(
        "--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(960, 720), help="of the frames")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size = int(options.size[0]), int(options.size[1])
    print(f"{options.frames} frames of {size[0]}x{size[1]}")
    print(HEADER)
    totals = {condition: Score() for condition in options.conditions}
    for folder in options.fields:
        for name, images, seed in scenes(folder, options.developed, options.scenes):
            for condition in options.conditions:
                score = run(images, seed, options.frames, size, condition)
                totals[condition].add(score)
                print(score.line(f"{name}, {condition}"), flush=True)
    whole = Score()
    for condition, score in totals.items():
        whole.add(score)
        print(score.line(f"all, {condition}"))
    print(whole.line("all"))


if __name__ == "__main__":
    main()
