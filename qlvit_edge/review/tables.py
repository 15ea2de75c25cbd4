"""Writing rows of cells as CSV, JSON Lines or Parquet; that files are whole is the caller's."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qlvit_edge.errors import MissingExtraError
from qlvit_edge.review.rows import COLUMNS
from qlvit_edge.text import plain

_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")
"""How a text begins that a spreadsheet would compute, or whose first mark it would hide."""


def write_csv(target: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV: UTF-8, a header, empty fields where there is nothing to say.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (see
    `cell_text`); control characters are escaped.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([cell_text(row[name]) for name in COLUMNS])
    target.write_bytes(_encoded(stream.getvalue()))


def cell_text(value: object) -> object:
    """Return a value as a field of a CSV file that is opened with a spreadsheet."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if value.startswith(_FORMULA) else text


def write_json_lines(target: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as one JSON object per line, probabilities as an object."""
    lines = []
    for row in rows:
        said = {**row, "probabilities": json.loads(row["probabilities"])}
        lines.append(plain(json.dumps(said, ensure_ascii=False)) + "\n")
    target.write_bytes(_encoded("".join(lines)))


def write_parquet(target: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as Parquet; the file's metadata say what they are worth.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        finding = "needs pyarrow, which is not installed"
        raise MissingExtraError(
            "--format parquet", finding, "pip install 'qlvit-edge[parquet]'"
        ) from None
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    fields = [(name, kinds[kind]) for name, kind in COLUMNS.items()]
    found = [{name: _utf8(value) for name, value in row.items()} for row in rows]
    says = {"status": "; ".join(sorted({str(row["status"]) for row in found}))}
    table = arrow.Table.from_pylist(found, schema=arrow.schema(fields, metadata=says))
    parquet.write_table(table, target)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _utf8(value: object) -> object:
    """Text that any reader takes: without halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
