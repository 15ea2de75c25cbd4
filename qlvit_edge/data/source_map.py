"""A table of sources: which photograph, slide or patient each image is from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import nfc
from qlvit_edge.reading import UnreadableFileError, read_regular

MAX_SOURCE_MAP_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class SourceMap:
    """Which photograph each image was made from.

    Attributes:
        sources: name (``"CLASS/file"``) → source, where it is known for sure.
        weak: names whose row says it is not.
    """

    sources: dict[str, str]
    weak: frozenset[str]


def read_source_map(path: Path) -> SourceMap:
    """Read a CSV with the columns class, file, source and, if it likes, confident (0 or 1).

    Raises:
        DataError: unreadable, a column is missing, or a row is malformed or contradicts an
            earlier one; the message names the line.
    """
    sources: dict[str, str] = {}
    weak: set[str] = set()
    try:
        text = read_regular(path, MAX_SOURCE_MAP_BYTES).decode("utf-8-sig")
        with io.StringIO(text, newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = {"class", "file", "source"} - set(rows.fieldnames or ())
            if missing:
                finding = f"line 1 lacks the column {', '.join(sorted(missing))}"
                raise DataError(path, finding, "name the columns class,file,source,confident")
            for row in rows:
                name, source, confident = _read_row(path, rows.line_num, row)
                if name in sources or name in weak:
                    raise DataError(
                        path, f"line {rows.line_num} names {name!r} again", "keep one row per image"
                    )
                if confident:
                    sources[name] = source
                else:
                    weak.add(name)
    except FileNotFoundError as error:
        raise DataError(path, "cannot be read (no such file)", "name a CSV file") from error
    except UnreadableFileError as error:
        raise DataError(path, str(error), "name a CSV file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(path, f"not a CSV file in UTF-8 ({error})", "check the file") from error
    return SourceMap(sources, frozenset(weak))


def _read_row(path: Path, line: int, row: Mapping[str | None, str | None]) -> tuple[str, str, bool]:
    """Return name, source and whether it is sure."""
    if None in row or None in row.values():
        raise DataError(path, f"line {line} has too many or too few fields", "correct the line")
    confident = row.get("confident", "1")
    if confident not in ("0", "1"):
        raise DataError(path, f"line {line}: confident is {confident!r}", "write 0 or 1")
    if not row["class"] or not row["file"] or (confident == "1" and not row["source"]):
        raise DataError(
            path, f"line {line} lacks a class, file or source", "fill it in, or set confident to 0"
        )
    return nfc(f"{row['class']}/{row['file']}"), row["source"] or "", confident == "1"
