"""What a run folder records of its training: one row per epoch, and which epoch was kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from qlvit_edge.errors import CheckpointError
from qlvit_edge.reading import UnreadableFileError, read_json
from qlvit_edge.training.checkpoint import BEST_FILE, LAST_FILE, load_tensors
from qlvit_edge.training.state import Row, read_history

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class History:
    """The course of a training.

    Attributes:
        rows: one per epoch; empty where nothing is recorded.
        best_epoch: whose weights are kept; None where that is not known.
        facts: how long it took, and on what: name and finding.
    """

    rows: tuple[Row, ...] = ()
    best_epoch: int | None = None
    facts: tuple[tuple[str, str], ...] = ()


class _Metrics(BaseModel):
    """The part of metrics.json that is read."""

    history: list[dict[str, float]] = []
    best_epoch: int | None = None
    seconds: float | None = None
    device: str | None = None


def recorded_history(folder: Path) -> History:
    """Return what a run folder records, of a run that has ended or not; nothing where it does not.

    Raises:
        CheckpointError: what it records is damaged.
    """
    path = folder / METRICS_FILE
    try:
        found = _Metrics.model_validate(read_json(path))
    except FileNotFoundError:
        last = folder / LAST_FILE
        rows = read_history(last) if last.is_file() else []
        # A fine-tuning as integers begins with a row of its start, and chooses otherwise.
        trained = tuple(row for row in rows if row["epoch"] > 0)
        return History(trained, _kept_epoch(folder) if trained else None)
    except (UnreadableFileError, ValidationError) as error:
        why = error if isinstance(error, UnreadableFileError) else "is not what `train` writes"
        raise CheckpointError(path, str(why), "restore it, or delete it") from None
    facts = []
    if found.seconds is not None:
        where = "" if found.device is None else f" on {found.device.upper()}"
        facts.append(("time of training", f"{found.seconds / 60:.0f} minutes{where}"))
    return History(tuple(found.history), found.best_epoch, tuple(facts))


def _kept_epoch(folder: Path) -> int | None:
    """Return whose weights a run folder keeps, as their file says."""
    epoch = load_tensors(folder / BEST_FILE)[1].get("epoch")
    return epoch if isinstance(epoch, int) else None
