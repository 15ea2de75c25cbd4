"""Runs of a contest: each is trained once, and what it gave is kept as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from contest.budget import Budget, train
from contest.members import Member
from contest.scores import answers, judge
from contest.tasks import Task
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import atomic_path, write_json
from qlvit_edge.training.devices import choose_device


class Lines:
    """Says on standard error how far a training is, ten times."""

    def __init__(self, title: str) -> None:
        """Begin the lines with ``title``."""
        self._title, self._said = title, -1

    def __call__(self, share: float, images: int, loss: float) -> None:
        """Say it once per tenth."""
        if int(10 * share) > self._said:
            self._said = int(10 * share)
            text = f"{self._title}: {share:4.0%}, {images} images, loss {loss:.3f}"
            print(text, file=sys.stderr, flush=True)


class Runs:
    """The runs in a folder.

    Attributes:
        out: the folder.
    """

    def __init__(self, out: Path, budget: Budget, device: str) -> None:
        """Find finished runs in ``out``, train others on ``budget``.

        Args:
            out: the folder.
            budget: of each run.
            device: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            DeviceError: ``cuda`` was asked for and there is none.
        """
        self.out, self._budget, self._device = out, budget, choose_device(device)
        out.mkdir(parents=True, exist_ok=True)

    def result(self, member: Member, task: Task, seed: int) -> dict[str, Any]:
        """Return what a run gave; train it first where it is not there.

        Raises:
            CheckpointError: the folder holds this run on another budget or other images.
        """
        path = self._path(member, task.name, seed, "json")
        effort = {
            **vars(self._budget),
            "rate": member.rate,
            "side": task.side,
            "task": task.fingerprint,
            "config": None if member.config is None else member.config.model_dump(mode="json"),
        }
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found["effort"] != effort:
                raise CheckpointError(
                    path, "is of another budget, network or images", "choose another --out"
                )
            return found
        title = f"{member.name}, {task.name}, seed {seed}"
        trained = train(member, task, self._budget, seed, self._device, Lines(title))
        asked = {
            kind: (one, answers(trained.network, one, self._device))
            for kind, one in task.questions.items()
        }
        found = {
            "effort": effort,
            "member": member.name,
            "task": task.name,
            "seed": seed,
            "images": trained.images,
            "seconds": round(trained.seconds, 1),
            "loss": trained.loss,
            "scores": {kind: judge(answered, one) for kind, (one, answered) in asked.items()},
            "answers": {
                kind: dict(zip(one.names, answered.tolist(), strict=True))
                for kind, (one, answered) in asked.items()
            },
        }
        with atomic_path(self._path(member, task.name, seed, "safetensors")) as temporary:
            save_file({k: t.cpu() for k, t in trained.network.state_dict().items()}, temporary)
        write_json(path, found)
        scores = ", ".join(f"{kind} {one['macro']:.1%}" for kind, one in found["scores"].items())
        print(f"{title}: {trained.images} images; macro {scores}", file=sys.stderr, flush=True)
        return found

    def network(self, member: Member, task: Task, seed: int) -> nn.Module:
        """Return the trained network of a run that `result` gave, in evaluation mode."""
        network = member.make()
        network.load_state_dict(load_file(self._path(member, task.name, seed, "safetensors")))
        return network.eval()

    def _path(self, member: Member, task: str, seed: int, ending: str) -> Path:
        return self.out / f"{member.key}-{task}-{seed}.{ending}"
