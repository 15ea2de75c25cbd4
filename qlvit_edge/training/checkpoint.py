"""The run folder: what a training run leaves behind, and how it is read again.

::

    run.json            network, classes, data, settings, unknown cells   (RunConfig)
    split.json          the split it was trained on
    training_images.json  its training side by content (see qlvit_edge.data.training_images)
    best.safetensors    averaged weights of the best epoch: what is calibrated and converted
    last.safetensors    everything `--resume` needs, in one file, so that it is consistent
    metrics.csv/.json   one row per epoch; final figures
    tensorboard/        the same rows for TensorBoard, with --tensorboard
    curves.png, confusion.png
    report.html, .json  how it does on its test images, for people and for programs
    calibration.json    written by `qlvit-edge calibrate`, and by `train --quantise`
    cells/              of a run of `qlvit-edge adapt`: a sample of the cells it was fitted to

Weights are safetensors, never pickle.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qlvit_edge.choices import IntegerSoftmax, ObserverName
from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import atomic_path, sha256, write_text
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.reading import UnreadableFileError, parse_json, read_json
from qlvit_edge.training.adapted import Adapted
from qlvit_edge.training.settings import TrainingSettings

FORMAT: Final = 1
RUN_FILE = "run.json"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
SPLIT_FILE = "split.json"
CALIBRATION_FILE = "calibration.json"
BUNDLED_CROPS: Final = "bundled:crops"
DESCRIPTION_FIELDS: Final = ("unknown_cells", "golden_images", "stain", "camera", "objective")
"""Fields of run.json that describe the model and decide nothing in training."""

HOLD_OUT_DRAW: Final = 2
"""How `hold_out` draws; recorded, since the images it drew are drawn again when they are needed."""

Described = Annotated[str, Field(min_length=1, max_length=200)]
"""A line of text that a person wrote about the model."""


class StartedFrom(BaseModel):
    """The run whose best weights a training started from.

    Attributes:
        name: of its folder, or of the bundled model.
        sha256: of its weights' file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def __str__(self) -> str:
        """Return it as messages show it."""
        return f"{self.name} ({self.sha256[:12]})"


class Quantised(BaseModel):
    """How a run was trained on as integers; see `qlvit_edge.quantised`.

    Attributes:
        form: of the integer softmax that it was trained with.
        observer: whose ranges it began with.
        calibration_sha256: of the calibration that they stand in.
        draw: number of the order and the changes of its images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: IntegerSoftmax
    observer: ObserverName
    calibration_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    draw: int = 0


class RunConfig(BaseModel):
    """Everything needed to rebuild the network and find its data again, and what it is for.

    Attributes:
        format: version of this file.
        network: the network's configuration.
        classes: names of its classes, in the order of its outputs.
        data: folder of the images it was trained on.
        split_fingerprint: of its split.
        training: what else decided the training.
        white_level: what was white in its images of 16 bits; None: nothing was said.
        unknown_cells: kinds of cells it was never shown; every file made of it says so.
        golden_images: folder of images that may travel in its files, one folder per class,
            relative to the run folder; or ``bundled:crops``, those of the package.
        stain: of the slides, in words; None if it was not said, as the next two.
        camera: that took the images.
        objective: of the microscope.
        started_from: the run whose weights it started from; None: from random ones.
        adapted_from: how it was fitted to another microscope; None where it was not.
        quantised: how it was trained on as integers, from the run in ``started_from``; None where
            it was trained as floats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    network: NetworkConfig
    classes: list[str]
    data: str
    split_fingerprint: str
    training: TrainingSettings
    white_level: int | None = None
    unknown_cells: list[str] = Field(default_factory=list)
    golden_images: str = BUNDLED_CROPS
    stain: Described | None = None
    camera: Described | None = None
    objective: Described | None = None
    started_from: StartedFrom | None = None
    adapted_from: Adapted | None = None
    quantised: Quantised | None = None

    def continues(self, earlier: RunConfig, epoch: int) -> bool:
        """Tell whether a run with these settings may go on from where an earlier one stands.

        All that decides training must be equal, but for more epochs in another cycle.

        Args:
            earlier: what the state was written by.
            epoch: epochs that it has trained; a cycle that early stopping ended ends there.
        """
        ends, before = self.training.cycle_ends, earlier.training.cycle_ends
        if len(ends) < len(before) or ends[: len(before) - 1] != before[:-1]:
            return False
        reached = (before[-1],) if len(ends) == len(before) else (before[-1], epoch)
        return ends[len(before) - 1] in reached and _undescribed(self) == _undescribed(earlier)


def _undescribed(run: RunConfig) -> dict[str, Any]:
    """What decides training, but for the number of epochs; where things lie does not."""
    fields = run.model_dump(exclude={*DESCRIPTION_FIELDS, "data"})
    del fields["training"]["epochs"], fields["training"]["earlier_cycles"]
    if run.started_from is not None:
        fields["started_from"] = run.started_from.sha256
    return fields


@dataclass(frozen=True)
class Checkpoint:
    """A trained network as read from a run folder.

    Attributes:
        folder: the run folder.
        run: its configuration.
        network: the network with the best weights, in evaluation mode.
        sha256: hash of the weights' file.
    """

    folder: Path
    run: RunConfig
    network: QLViT
    sha256: str


def write_run_config(folder: Path, run: RunConfig) -> None:
    """Write `run.json`."""
    write_text(folder / RUN_FILE, run.model_dump_json(indent=2) + "\n")


def read_run_config(folder: Path) -> RunConfig:
    """Read `run.json` of a run folder.

    Raises:
        CheckpointError: it is missing, damaged or of another version.
    """
    path = folder / RUN_FILE
    if not folder.is_dir():
        raise CheckpointError(folder, "is not a run folder", "name a folder that `train` wrote")
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(
            folder, f"holds no {RUN_FILE}", "name a folder that `train` wrote"
        ) from None
    except UnreadableFileError as error:
        raise CheckpointError(path, str(error), "train again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            path,
            f"has format {version!r}, this version reads {FORMAT}",
            "train again or use the version that wrote it",
        )
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(path, f"{where}: {first['msg']}", "train again") from None


def save_tensors(path: Path, tensors: dict[str, Tensor], header: Mapping[str, object]) -> None:
    """Write tensors and a JSON header as safetensors, atomically."""
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(packed, temporary, metadata={"qlvit_edge": json.dumps(header)})
        except SafetensorError as error:
            raise _as_os_error(error, path) from None


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number), str(path))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        CheckpointError: missing, damaged, or not written by this project's format.
    """
    if not path.is_file():
        raise CheckpointError(path, "is missing", "train again or restore it")
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_json((file.metadata() or {}).get("qlvit_edge", "{}").encode())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, UnreadableFileError, OSError) as error:
        raise CheckpointError(path, f"cannot be read ({error})", "train again") from None
    if not isinstance(header, dict):
        raise CheckpointError(path, "has a header that is no object", "train again")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            path,
            f"has format {header.get('format')!r}, this version reads {FORMAT}",
            "train again or use the version that wrote it",
        )
    return tensors, header


def load_weights(network: QLViT, tensors: dict[str, Tensor], path: Path) -> None:
    """Load ``tensors`` into ``network``; every name and shape must fit.

    Raises:
        CheckpointError: they belong to another network.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            path, f"does not fit {RUN_FILE} ({reason})", "use the files of one run together"
        ) from None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a run folder's configuration and best weights.

    Raises:
        CheckpointError: something is missing, damaged, of another version or does not fit.
    """
    run = read_run_config(folder)
    path = folder / BEST_FILE
    tensors, _ = load_tensors(path)
    network = QLViT(run.network)
    load_weights(network, tensors, path)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError(path, "holds weights that are not finite", "train again")
    return Checkpoint(folder, run, network.eval(), sha256(path.read_bytes()))
