"""A reference set: pictures of fields beside one table of the cells in them, labelled by people."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qlvit_edge.errors import DataError
from qlvit_edge.fields.finder import Cell
from qlvit_edge.reading import UnreadableFileError, read_regular
from qlvit_edge.text import folded, plain

TABLE: Final = "cells.csv"
COLUMNS: Final = ("file", "x_px", "y_px", "width_px", "height_px", "label")

MOST_TABLE_BYTES: Final = 16 * 1024 * 1024
MOST_PICTURE_BYTES: Final = 512 * 1024 * 1024
MOST_CELLS: Final = 20_000

OVERLAP: Final = 0.5
"""Intersection over union from which a found cell is the labelled one."""

_REMEDY: Final = f"its columns are {','.join(COLUMNS)}; see docs/reference.md"


@dataclass(frozen=True)
class LabelledCell:
    """A cell that people have named.

    Attributes:
        box: left, top, width and height in pixels of its field.
        label: its class.
    """

    box: tuple[int, int, int, int]
    label: str


@dataclass(frozen=True)
class ReferenceField:
    """A picture with its cells."""

    path: Path
    cells: tuple[LabelledCell, ...]


@dataclass(frozen=True)
class ReferenceSet:
    """Fields with labelled cells.

    Attributes:
        folder: where they lie.
        fields: the pictures by name; only those that the table names.
        sha256: of the table and of all pictures with their names.
    """

    folder: Path
    fields: tuple[ReferenceField, ...]
    sha256: str

    @property
    def cells(self) -> int:
        """How many cells are labelled."""
        return sum(len(field.cells) for field in self.fields)


def read_reference(folder: Path) -> ReferenceSet:
    """Read a reference set; pictures are hashed, and decoded when they are used.

    Raises:
        DataError: it is no such folder, the table is not one, or a picture is not there.
    """
    table = folder / TABLE
    try:
        content = read_regular(table, MOST_TABLE_BYTES)
    except FileNotFoundError:
        finding = f"it holds no {TABLE}" if folder.is_dir() else "no such folder"
        remedy = "make one with `qlvit-edge reference make`, or see docs/reference.md"
        raise DataError(folder, finding, remedy) from None
    except UnreadableFileError as error:
        raise DataError(table, str(error), _REMEDY) from None
    by_file: dict[str, list[LabelledCell]] = {}
    for number, row in _rows(table, content):
        by_file.setdefault(row["file"], []).append(_cell(table, number, row))
    if not by_file:
        raise DataError(table, "it names no cell", "label some: one row per cell")
    digest = hashlib.sha256(content)
    fields = []
    for name in sorted(by_file):
        path = _inside(table, folder, name)
        digest.update(f"\n{name}\n{_picture_hash(table, path)}".encode())
        fields.append(ReferenceField(path, tuple(by_file[name])))
    return ReferenceSet(folder, tuple(fields), digest.hexdigest())


def table_text(rows: Iterable[tuple[str, LabelledCell]]) -> str:
    """Return a table of cells by file, as `read_reference` reads it."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((name, *cell.box, cell.label) for name, cell in rows)
    return stream.getvalue()


def labels_in(reference: ReferenceSet, labels: Sequence[str]) -> dict[str, str | None]:
    """Return the model's class for each label of a set, None where the model has none.

    Capitals, spaces and underscores do not count.

    Raises:
        DataError: the model has none of them.
    """
    known = {folded(label): label for label in labels}
    words = sorted({cell.label for field in reference.fields for cell in field.cells})
    found = {word: known.get(folded(word)) for word in words}
    if not any(found.values()):
        finding = f"the model has none of its classes ({', '.join(words[:5])})"
        remedy = f"name the model that it was made for; this one knows {', '.join(labels)}"
        raise DataError(reference.folder, finding, remedy)
    return found


def located(found: Sequence[Cell], labelled: Sequence[LabelledCell]) -> list[int | None]:
    """Return which found cell each labelled one is: one to one, the best overlap first."""
    overlaps = [
        (_overlap((cell.x, cell.y, cell.width, cell.height), wanted.box), at, number)
        for at, wanted in enumerate(labelled)
        for number, cell in enumerate(found)
    ]
    answer: list[int | None] = [None] * len(labelled)
    taken: set[int] = set()
    for share, at, number in sorted(overlaps, key=lambda one: (-one[0], one[1], one[2])):
        if share >= OVERLAP and answer[at] is None and number not in taken:
            answer[at] = number
            taken.add(number)
    return answer


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    across, down = (
        min(first[axis] + first[axis + 2], second[axis] + second[axis + 2])
        - max(first[axis], second[axis])
        for axis in (0, 1)
    )
    both = max(0, across) * max(0, down)
    return both / (first[2] * first[3] + second[2] * second[3] - both)


def _rows(table: Path, content: bytes) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows.

    Raises:
        DataError: it is no CSV in UTF-8 with these columns, or too long.
    """
    try:
        reader = csv.DictReader(
            io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True, restval=""
        )
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(table, f"it has no column {missing[0]!r}", _REMEDY)
        for count, row in enumerate(reader):
            if count == MOST_CELLS:
                raise DataError(table, f"it has more than {MOST_CELLS:,} cells", "use fewer fields")
            yield reader.line_num, {name: row[name].strip() for name in COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(table, f"it is no CSV in UTF-8 ({error})", _REMEDY) from None


def _cell(table: Path, number: int, row: dict[str, str]) -> LabelledCell:
    if not row["label"]:
        remedy = "write its class, or remove the row"
        raise DataError(table, f"line {number}: the cell has no label", remedy)
    box = []
    for name, least in zip(COLUMNS[1:5], (0, 0, 1, 1), strict=True):
        text = row[name]
        if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) >= least):
            finding = f"line {number}: {name} is {plain(text[:20])!r}, no whole number from {least}"
            raise DataError(table, finding, _REMEDY)
        box.append(int(text))
    left, top, width, height = box
    return LabelledCell((left, top, width, height), row["label"])


def _inside(table: Path, folder: Path, name: str) -> Path:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        finding = f"{plain(name[:60])!r} is not the name of a picture in the folder"
        raise DataError(table, finding, "put pictures beside the table, and name them")
    return folder / name


def _picture_hash(table: Path, path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path, MOST_PICTURE_BYTES)).hexdigest()
    except FileNotFoundError:
        finding = f"it names {path.name}, which is not there"
        raise DataError(table, finding, "put the picture beside the table") from None
    except UnreadableFileError as error:
        raise DataError(path, str(error), "put the picture beside the table") from None
