"""A run of 200 cells whose true classes are known, and a reader of its review in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from results_rows import INFO

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pictures import keep_picture
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.microscope.results import Results

CLASSES = ("NEUTROPHIL", "LYMPHOCYTE", "MONOCYTE", "EOSINOPHIL", "BASOPHIL")
SHARES = (0.58, 0.27, 0.08, 0.05, 0.02)
CELLS, WRONG, A_FRAME = 200, 20, 5


def write_known_run(path: Path, keep: Path, seed: int) -> dict[int, str]:
    """Store a run of which 90 % of the answers are right; return the true classes by cell.

    Wrong answers are less certain than right ones, as those of a calibrated model, and of nine in
    ten the model's second answer is right.
    """
    random = np.random.default_rng(seed)
    wrong = set(random.choice(CELLS, WRONG, replace=False).tolist())
    truths: dict[int, str] = {}
    with Results(path, INFO) as results:
        for index in range(CELLS // A_FRAME):
            pixels = random.integers(0, 256, (48, 160, 3), np.uint8)
            frame = Frame(pixels, index, 1000.0 + index, f"{index}.png")
            cells = []
            for place in range(A_FRAME):
                number = index * A_FRAME + place
                truth, cell = _cell(random, number in wrong, 4 + 30 * place)
                truths[number + 1] = truth
                cells.append(cell)
            kept = keep_picture(keep, results.run_id, frame)
            results.add_frames([FrameRecord.of(frame, cells, kept_as=kept)])
    return truths


def _cell(random: np.random.Generator, wrong: bool, x: int) -> tuple[str, ClassifiedCell]:
    label = CLASSES[random.choice(len(CLASSES), p=SHARES)]
    second = str(random.choice([name for name in CLASSES if name != label]))
    sure = random.uniform(0.5, 0.9) if wrong else 1 - 0.3 * random.random() ** 3
    rest = (1 - sure) / 8
    shares = dict.fromkeys(CLASSES, rest) | {label: sure, second: 1 - sure - 3 * rest}
    truth = label
    if wrong:
        others = [name for name in CLASSES if name not in (label, second)]
        truth = second if random.random() < 0.9 else str(random.choice(others))
    answer = Classification(label, sure, shares, "accepted")
    return truth, ClassifiedCell(Cell(x, 10, 24, 20, 150.0), answer)


_SHOWN = """[...document.querySelectorAll('.tile')].map((tile) => ({
  id: Number(tile.dataset.cell), mark: tile.querySelector('.mark').textContent.toLowerCase(),
  decided: tile.classList.contains('decided'), current: tile.classList.contains('current'),
  second: tile.querySelector('.people').textContent.replace('or ', '').toUpperCase() }))"""
_READY = """[...document.querySelectorAll('.tile')].filter((tile) => {
  const box = tile.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight;
}).every((tile) => tile.classList.contains('seen'))"""
_TO_THE_END = (
    "document.querySelector('.tile:last-child').getBoundingClientRect().bottom <= innerHeight"
)
_UNSEEN = "document.getElementById('told').textContent.includes('not on the screen yet')"


class Reader:
    """Presses keys as a person would who knows every cell.

    Attributes:
        pressed: keys so far.
    """

    def __init__(self, browser: Browser, truths: dict[int, str]) -> None:
        self._browser, self._truths = browser, truths
        self.pressed: list[str] = []

    def press(self, key: str) -> None:
        """Press one key."""
        self.pressed.append(key)
        self._browser.press(key, {"Enter": "\r"}.get(key, key if len(key) == 1 else ""))

    def read(self, label: str) -> None:
        """Read the class that is shown to its end."""
        block, self._chosen = 0, False
        while True:
            self._browser.wait(_READY)
            tiles: list[dict[str, Any]] = self._browser.ask(_SHOWN)
            marked = [one for one in tiles if one["mark"] and not one["decided"]]
            wrong = [one for one in marked if self._truths[one["id"]] != label]
            self._correct([one for one in wrong if not self._is_second(one)])
            self._choose([one for one in wrong if self._is_second(one)])
            block += 1
            later = [one for one in tiles[26 * block :] if self._truths[one["id"]] != label]
            if not later and self._browser.ask(_TO_THE_END):
                break
            self.press("PageDown")
        self._change_chosen()
        self.press("Enter")
        assert not self._browser.ask(_UNSEEN)

    def _is_second(self, tile: dict[str, Any]) -> bool:
        return self._truths[tile["id"]] == str(tile["second"])

    def _correct(self, wrong: list[dict[str, Any]]) -> None:
        """Give cells of the marked ones their classes; all of a class at once."""
        if wrong:
            self._change_chosen()
        for one in wrong:
            if one["current"]:  # before anything is selected
                self.press(str(self.key_of(self._truths[one["id"]])))
        others = [one for one in wrong if not one["current"]]
        for label in dict.fromkeys(self._truths[one["id"]] for one in others):
            for one in others:
                if self._truths[one["id"]] == label:
                    self.press(one["mark"])
            self.press(str(self.key_of(label)))

    def _choose(self, wrong: list[dict[str, Any]]) -> None:
        """Select cells whose second answer is right; they stay so while more are looked for."""
        for one in wrong:
            self.press(one["mark"])
            self._chosen = True

    def _change_chosen(self) -> None:
        if self._chosen:
            self.press("-")
        self._chosen = False

    def key_of(self, label: str) -> int:
        """Return the number that stands on a class's button."""
        shown = self._browser.ask(
            "[...document.querySelectorAll('#classes button')].map((b) => b.textContent)"
        )
        return next(i for i, text in enumerate(shown, 1) if text.upper().startswith(label))
