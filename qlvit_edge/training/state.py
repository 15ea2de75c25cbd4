"""Everything that changes while training, as one file, and what its history says."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from qlvit_edge.errors import CheckpointError
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import (
    DESCRIPTION_FIELDS,
    FORMAT,
    RunConfig,
    load_tensors,
    load_weights,
    save_tensors,
)
from qlvit_edge.training.settings import TrainingSettings

Row = dict[str, float]
"""One epoch of the history: its number, loss, accuracies, learning rate and seconds."""


@dataclass
class TrainingState:
    """Everything that changes while training; saved and restored as one file."""

    network: QLViT
    average: QLViT
    optimiser: torch.optim.AdamW
    epoch: int = 0
    history: list[Row] = field(default_factory=list)

    def save(self, path: Path, run: RunConfig) -> None:
        """Write the state to ``path`` atomically."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        header = {
            "format": FORMAT,
            "epoch": self.epoch,
            "history": self.history,
            "settings": run.model_dump(mode="json", exclude=set(DESCRIPTION_FIELDS)),
        }
        save_tensors(path, tensors, header)

    def restore(
        self, tensors: dict[str, Tensor], header: dict[str, Any], path: Path, run: RunConfig
    ) -> None:
        """Continue from what `load_tensors` read of a file that `save` wrote.

        Args:
            tensors: of the file.
            header: of the file.
            path: its name.
            run: continues the run that it was written for.

        Raises:
            CheckpointError: it is damaged or from a run with other settings.
        """
        if not run.continues(recorded_run(header.get("settings"), path), header["epoch"]):
            raise CheckpointError(
                path,
                "was written by a run with other settings",
                "resume with the options of that run, or train into another folder",
            )
        load_weights(self.network, _below("network.", tensors), path)
        load_weights(self.average, _below("average.", tensors), path)
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below("optimiser.", tensors).items():
            index, key = name.split(".", 1)
            states.setdefault(int(index), {})[key] = tensor
        loaded = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**loaded, "state": states})
        self.epoch = header["epoch"]
        self.history = header["history"]


def read_history(path: Path) -> list[Row]:
    """Return the history in a file that `TrainingState.save` wrote.

    Raises:
        CheckpointError: missing or damaged.
    """
    history: list[Row] = load_tensors(path)[1]["history"]
    return history


def as_csv(history: Sequence[Row]) -> str:
    """Return a history as CSV with the columns of its last row; what another lacks is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(history[-1]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue()


def score(row: Row) -> float:
    """Return what the best epoch is chosen by: accuracy, or mean recall in a balanced run."""
    return row.get("validation_recall", row.get("validation_accuracy", 0.0))


def best_epoch(history: Sequence[Row]) -> int:
    """Return the number (from 1) of the best epoch; of equals, the later one."""
    return max(range(len(history)), key=lambda index: (score(history[index]), index)) + 1


def has_stopped(history: Sequence[Row], settings: TrainingSettings) -> bool:
    """Tell whether training is over: all epochs, or as many without a better as patience has.

    Epochs are counted from the best one or from the cycle's begin, whichever is later.
    """
    if len(history) >= settings.epochs:
        return True
    if not history or settings.patience == 0:
        return False
    start, _ = settings.cycle_of(len(history))
    return len(history) - max(best_epoch(history), start) >= settings.patience


def recorded_run(settings: object, path: Path) -> RunConfig:
    """Return the run that a state was written for, from the settings in the file's header.

    Raises:
        CheckpointError: they are damaged.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise CheckpointError(path, f"its settings are damaged ({where})", "train again") from None


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
