"""Classify image files: whole images, or the cells that the finder finds in them.

What `run` does for a camera, without its database: the same decoding, cropping, integer
arithmetic and threshold. An image that cannot be read is an answer of its own, so that one
damaged file does not end a folder.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.folder import pictures
from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell
from qlvit_edge.imagefolder import notes_on, said_of, when_settled
from qlvit_edge.inference.classifier import Classification, Classifier
from qlvit_edge.microscope.pipeline import Pipeline
from qlvit_edge.preprocess import decode_noting

_MODEL_SUFFIXES = frozenset({".tflite", ".chain", ".safetensors", ".onnx", ".pt", ".pth"})
NO_CELL = "no cell found"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class PredictedCell:
    """A whole image or one cell of it, and what the model says.

    Attributes:
        classification: what the model says.
        box: where the cell is; None for a whole image.
    """

    classification: Classification
    box: Cell | None = None


@dataclass(frozen=True)
class Prediction:
    """What came of one image file.

    Attributes:
        file: its path, as it was named.
        cells: the whole image, or its cells, the largest nucleus first; empty where the image
            cannot be read or no cell was found.
        error: why it cannot be read; None otherwise.
        kinds: what sets it apart from 8-bit RGB, see `qlvit_edge.preprocess.unusual`.
    """

    file: Path
    cells: tuple[PredictedCell, ...] = ()
    error: str | None = None
    kinds: tuple[str, ...] = field(default=())


def image_files(
    named: Iterable[Path],
    note: Callable[[str], None],
    *,
    as_model: str = "write --model {}",
) -> list[Path]:
    """Return the named files, and the images in and below the named folders, each once.

    Folders below them that cannot be listed are returned too: they are no answer either.

    Args:
        named: files and folders.
        note: called with what is passed over, and its remedy.
        as_model: how the command is told a model, `{}` standing for its path.

    Raises:
        DataError: a name is neither a file nor a folder, or is that of a model.
        CameraError: a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in named:
        if path.is_dir():
            inside = pictures(path, str(path))
            found.update(dict.fromkeys([*inside.images, *(path / name for name in inside.unread)]))
            for line in notes_on(inside.passed_over):
                note(line)
        elif path.suffix.lower() in _MODEL_SUFFIXES:
            raise DataError(path, "is a model, not an image", as_model.format(path))
        elif not path.exists():
            raise DataError(path, "no such file or folder", "name images or folders of images")
        else:
            found[path] = None
    return list(found)


def predictions(
    classifier: Classifier,
    files: Iterable[Path],
    *,
    find_cells: bool = False,
    cell_size: float | None = None,
) -> Iterator[Prediction]:
    """Classify files one after the other; each is answered as soon as it is done.

    Args:
        classifier: the model.
        files: image files.
        find_cells: classify the crop of every found cell instead of the whole image.
        cell_size: diameter of a usual white cell as a share of the image's short side.

    Raises:
        DeviceError: the runtime failed.
    """
    pipeline = Pipeline(classifier, cell_size=cell_size)
    for number, path in enumerate(files):
        kinds: list[str] = []
        try:
            image = when_settled(path, partial(decode_noting, kinds=kinds))
        except DataError as error:
            yield Prediction(path, error=said_of(error, path))
            continue
        if find_cells:
            frame = Frame(image, number, time.time(), path.name)
            try:
                found = pipeline.process(frame)
            except DataError as error:
                yield Prediction(path, error=said_of(error, Path(path.name)))
                continue
            cells = tuple(PredictedCell(cell.classification, cell.cell) for cell in found)
        else:
            cells = (PredictedCell(classifier.infer(classifier.prepare(image))),)
        yield Prediction(path, cells, kinds=tuple(kinds))


def ranked(classification: Classification, count: int) -> list[tuple[str, float]]:
    """Return the most probable classes with their probabilities, the best first."""
    order = sorted(classification.probabilities.items(), key=lambda item: -item[1])
    return order[:count]


def records(prediction: Prediction, top: int) -> list[dict[str, object]]:
    """Return a prediction for JSON: one record per cell, or one that says why there is none.

    Args:
        prediction: to be listed.
        top: how many of the most probable classes of every cell are listed.
    """
    name = {"file": str(prediction.file)}
    if not prediction.cells:
        return [{**name, "label": None, "remark": prediction.error or NO_CELL}]
    return [
        {
            **name,
            "label": cell.classification.label,
            "probability": cell.classification.probability,
            "verdict": cell.classification.verdict,
            "reason": cell.classification.reason,
            "top": [
                {"label": label, "probability": chance}
                for label, chance in ranked(cell.classification, top)
            ],
            **_box(cell.box),
        }
        for cell in prediction.cells
    ]


def _box(box: Cell | None) -> dict[str, object]:
    if box is None:
        return {}
    return {"box": {"x": box.x, "y": box.y, "width": box.width, "height": box.height}}


def columns(top: int, *, find_cells: bool) -> list[str]:
    """Return the names of the columns of `rows`."""
    names = ["file", "cell", "label", "probability", "verdict"]
    for rank in range(2, top + 1):
        names += [f"label_{rank}", f"probability_{rank}"]
    return [*names, *(["x", "y", "width", "height"] if find_cells else []), "remark"]


def rows(prediction: Prediction, top: int, *, find_cells: bool) -> list[list[str]]:
    """Return a prediction as rows of a table: one per cell, or one that says why there is none.

    Args:
        prediction: to be listed.
        top: how many classes of every cell are listed; where the model has fewer, the rest
            stays empty.
        find_cells: whether the rows have the columns of a box.
    """
    width = len(columns(top, find_cells=find_cells))
    name = _file_name(prediction.file)
    if not prediction.cells:
        return [[name, *[""] * (width - 2), _safe(prediction.error or NO_CELL)]]
    table = []
    for number, cell in enumerate(prediction.cells, start=1):
        best, *others = ranked(cell.classification, top)
        verdict = cell.classification.verdict
        row = [name, str(number), _safe(best[0]), f"{best[1]:.6f}", verdict]
        for label, chance in others:
            row += [_safe(label), f"{chance:.6f}"]
        row += [""] * 2 * (top - 1 - len(others))
        if find_cells:
            box = cell.box
            row += ["", "", "", ""] if box is None else _edges(box)
        table.append([*row, _remark(cell.classification)])
    return table


def _remark(answer: Classification) -> str:
    """Why an answer is not accepted, where the probability, which stands there, is not why."""
    return "" if answer.verdict in ("accepted", "uncertain") else _safe(answer.reason or "")


def _edges(box: Cell) -> list[str]:
    return [str(value) for value in (box.x, box.y, box.width, box.height)]


def _file_name(path: Path) -> str:
    """The name, written so that a spreadsheet takes it for no formula and it still opens."""
    text = str(path)
    return _written(f"./{text}" if text.startswith(_FORMULA) else text)


def _safe(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: an apostrophe goes before it."""
    return _written(f"'{text}" if text.startswith(_FORMULA) else text)


def _written(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a name that are no UTF-8 are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_text(lines: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV of RFC 4180: CR LF, quoted where needed."""
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator="\r\n").writerows(lines)
    return target.getvalue()
