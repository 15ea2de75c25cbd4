"""What every check found, one JSON object per line, added and never changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.errors import DataError
from qlvit_edge.reading import UnreadableFileError, parse_json, read_regular
from qlvit_edge.text import plain

FORMAT: Final = 1
MOST_BYTES: Final = 128 * 1024 * 1024

_Count = Annotated[int, Field(ge=0, le=10**9)]
_Text = Annotated[str, Field(max_length=1000)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """One check.

    Attributes:
        format: of the line.
        at: when, ISO 8601 in UTC.
        reference: hash of the reference set.
        model: its name.
        model_sha256: hash of its file.
        program: with its version.
        runtime: with its version and the processor's architecture.
        kernels: that ran.
        camera: which one was pointed at the slide; "" where the stored fields alone were looked at.
        calibration: hash of the camera's calibration file; "" without one.
        begins: whether limits are learnt anew from here on.
        labelled: cells of the reference set.
        located: those that were found again.
        compared: of these, those of classes that the model knows.
        agreed: of these, those that the model calls as people do.
        extra: found cells that are not labelled.
        answers: the model's class of each labelled cell in the table's order; None: not located.
        counts: whole cells found in the fields, by the model's class.
        frames: of the camera that were looked at.
        camera_counts: whole cells found in them, by the model's class.
        measures: of the pictures, by name.
        outside: whether a limit was broken: such a check is not learnt from.
        broken: names of the series whose limits were broken.
        warnings: what was said.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    format: Literal[1] = FORMAT
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d", max_length=40)]
    reference: _Hash
    model: _Text
    model_sha256: _Hash
    program: _Text
    runtime: _Text
    kernels: _Text
    camera: _Text = ""
    calibration: _Text = ""
    begins: bool = False
    labelled: _Count
    located: _Count
    compared: _Count
    agreed: _Count
    extra: _Count
    answers: list[_Text | None]
    counts: dict[str, _Count]
    frames: _Count = 0
    camera_counts: dict[str, _Count] = {}
    measures: dict[str, _Number]
    outside: bool = False
    broken: list[_Text] = []
    warnings: list[str] = []

    @model_validator(mode="after")
    def _require_parts_of_wholes(self) -> Self:
        if not self.agreed <= self.compared <= self.located <= self.labelled:
            raise ValueError("a part is larger than its whole")
        return self


def read_history(path: Path) -> tuple[list[Record], list[int]]:
    """Return the checks of a file in its order, and the numbers of lines that are damaged.

    A file that is not there, or empty, has none.

    Raises:
        DataError: it is no regular file, too large, or holds no line that is one of ours.
    """
    try:
        content = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        return [], []
    except UnreadableFileError as error:
        raise DataError(path, str(error), "name another --history") from None
    records, damaged = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record.model_validate(parse_json(line)))
        except (UnreadableFileError, ValidationError):
            damaged.append(number)
    if damaged and not records:
        finding = "no line of it is a check of this program"
        raise DataError(path, finding, "name another --history, or move this file away")
    return records, damaged


def append_record(path: Path, record: Record) -> None:
    """Add one line, whole or not at all, on the disk when this returns.

    Two that add at once do so one after the other.

    Raises:
        DataError: the file cannot be written, or the disk is full; it is as it was.
    """
    line = plain(record.model_dump_json()).encode("utf-8") + b"\n"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # cut short by a power cut
            line = b"\n" + line
        try:
            written = os.write(descriptor, line)
            if written < len(line):
                os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        os.close(descriptor)


def of_the_same(records: Sequence[Record], today: Record) -> list[Record]:
    """Return the checks that today's can be held against, oldest first.

    Those of the same reference, model, runtime, camera and calibration, since limits were last to
    be learnt anew. What was changed and changed back goes on where it was.
    """
    if today.begins:
        return []
    same = [record for record in records if identity(record) == identity(today)]
    starts = [number for number, record in enumerate(same) if record.begins]
    return same[starts[-1] :] if starts else same


def identity(record: Record) -> tuple[str, ...]:
    """Return what must be the same for two checks to be comparable."""
    return (
        *(record.reference, record.model_sha256, record.program, record.runtime, record.kernels),
        *(record.camera, record.calibration),
    )


def _unwritable(path: Path, error: OSError) -> DataError:
    reason = (error.strerror or str(error)).lower()
    return DataError(
        path, f"the check cannot be noted ({reason})", "free some space, or name a --history"
    )
