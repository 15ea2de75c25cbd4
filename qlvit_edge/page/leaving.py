"""What leaves a results file through the page: whole files, none by a name from the network."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from qlvit_edge.review.crops import write_crops
from qlvit_edge.review.reviewed import ReviewedRun
from qlvit_edge.review.rows import rows_of
from qlvit_edge.review.tables import write_csv, write_json_lines

FORMATS: Final = {
    "csv": ("csv", "text/csv; charset=utf-8"),
    "jsonl": ("jsonl", "application/jsonl; charset=utf-8"),
    "crops": ("zip", "application/zip"),
}
"""What can be asked for, with the ending and type of the file."""


def file_name(seen: ReviewedRun, kind: str) -> str:
    """Return what a file is called: one of a run that is not signed says so."""
    status = "" if seen.status.is_signed else "-PRELIMINARY"
    what = "-crops" if kind == "crops" else ""
    return f"run{seen.run.run}{what}{status}.{FORMATS[kind][0]}"


def exported(results: Path, seen: ReviewedRun, kind: str, leaving: Callable[[], None]) -> bytes:
    """Return a run as a file.

    Args:
        results: the results file.
        seen: the run.
        kind: a key of `FORMATS`.
        leaving: called once all is made, before it leaves.

    Raises:
        DataError: there is nothing to write, or the frames that crops are cut from are not there.
    """
    with tempfile.TemporaryDirectory(prefix="qlvit-edge-") as folder:
        target = Path(folder) / file_name(seen, kind).removesuffix(".zip")
        if kind == "crops":
            write_crops(results, target, [seen], reviewed=True, leaving=leaving)
            return _zipped(target)
        write = write_csv if kind == "csv" else write_json_lines
        write(target, rows_of(seen))
        leaving()
        return target.read_bytes()


def _zipped(folder: Path) -> bytes:
    """Return a folder as a ZIP archive, which opens as a folder of its name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                inside = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                packed = zipfile.ZIP_STORED if path.suffix == ".png" else zipfile.ZIP_DEFLATED
                archive.write(path, inside, compress_type=packed)
    return stream.getvalue()
