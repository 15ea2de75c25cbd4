"""The run folder: what a training run leaves behind, and how it is read again.

::

    run.json            network network, classes, data, settings, unknown cells   (RunConfig)
    split.json          the split it was trained on
    training_images.json  its training side by content (see qlvit_edge.data.training_images)
    best.safetensors    averaged weights of the best epoch: what is calibrated and converted
    last.safetensors    everything `--resume` needs, in one file, so that it is consistent
    metrics.csv/.json   one row an epoch; final figures
    curves.png, confusion.png
    calibration.json    written by `qlvit-edge calibrate`

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
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qlvit_edge.errors import CheckpointError
from qlvit_edge.files import atomic_path, sha256, write_text
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.qlvit import QLViT

FORMAT: Final = 1
RUN_FILE = "run.json"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
SPLIT_FILE = "split.json"
CALIBRATION_FILE = "calibration.json"
BUNDLED_CROPS: Final = "bundled:crops"
DESCRIPTION_FIELDS: Final = ("unknown_cells", "golden_images")
"""Fields of run.json that describe the model and decide nothing in training."""


class TrainingSettings(BaseModel):
    """What besides the data and the network decides a training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    validation: float
    seed: int
    settle: float = 0.0


class RunConfig(BaseModel):
    """Everything needed to rebuild the network and find its data again, and what it is for.

    Attributes:
        format: version of this file.
        network: the network's configuration.
        classes: names of its classes, in the order of its outputs.
        data: folder of the images it was trained on.
        split_fingerprint: of its split.
        training: what else decided the training.
        unknown_cells: kinds of cells it was never shown; every file made of it says so.
        golden_images: folder of images that may travel in its files, one folder per class,
            relative to the run folder; or ``bundled:crops``, those of the package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    network: NetworkConfig
    classes: list[str]
    data: str
    split_fingerprint: str
    training: TrainingSettings
    unknown_cells: list[str] = Field(default_factory=list)
    golden_images: str = BUNDLED_CROPS


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
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            folder, f"holds no {RUN_FILE}", "name a folder that `train` wrote"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(path, f"is not JSON ({error})", "train again") from None
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
            header = json.loads((file.metadata() or {}).get("qlvit_edge", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(path, f"cannot be read ({error})", "train again") from None
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
