"""What changes in quantised fine-tuning, as one file; and which of its epochs is handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from qlvit_edge.errors import CheckpointError
from qlvit_edge.quantised.student import Student
from qlvit_edge.training.checkpoint import (
    DESCRIPTION_FIELDS,
    FORMAT,
    RunConfig,
    load_tensors,
    save_tensors,
)
from qlvit_edge.training.state import Row, recorded_run


@dataclass
class FineTuningState:
    """Everything that changes; saved and restored as one file.

    Attributes:
        student: what is trained.
        average: moving average of it.
        optimiser: of the student.
        history: one row per epoch; the first is that of the start, epoch 0.
    """

    student: Student
    average: Student
    optimiser: torch.optim.AdamW
    history: list[Row] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return max(len(self.history) - 1, 0)

    def save(self, path: Path, run: RunConfig) -> None:
        """Write the state atomically."""
        tensors = {f"student.{name}": t for name, t in self.student.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self.average.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        settings = run.model_dump(mode="json", exclude=set(DESCRIPTION_FIELDS))
        save_tensors(path, tensors, {"format": FORMAT, "history": self.history, "run": settings})

    def restore(self, path: Path, run: RunConfig) -> None:
        """Continue from a file that `save` wrote for the same run.

        Raises:
            CheckpointError: missing, damaged, or from a run with other settings.
        """
        tensors, header = load_tensors(path)
        if not run.continues(recorded_run(header.get("run"), path), run.training.epochs):
            raise CheckpointError(
                path,
                "was written by a run with other settings",
                "resume with the options of that run, or train into another folder",
            )
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            if owner == "optimiser":
                index, _, key = rest.partition(".")
                states.setdefault(int(index), {})[key] = tensor
        try:
            for part, module in (("student.", self.student), ("average.", self.average)):
                module.load_state_dict(
                    {n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)}
                )
        except RuntimeError:
            raise CheckpointError(path, "does not fit run.json", "train again") from None
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})
        self.history = header["history"]


def best_row(history: Sequence[Row]) -> int:
    """Return the epoch that is handed out: the one least far from the float network.

    Epoch 0 is the run as it was calibrated: no other is handed out that is further off.
    """
    return min(range(len(history)), key=lambda i: history[i]["divergence"])
