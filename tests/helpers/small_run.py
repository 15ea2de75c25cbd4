"""A small network, a folder of synthetic cells and a run folder, for tests of the workstation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import Split, stratified_split
from qlvit_edge.files import write_text
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    FORMAT,
    SPLIT_FILE,
    RunConfig,
    save_tensors,
    write_run_config,
)
from qlvit_edge.training.settings import TrainingSettings

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
UNKNOWN_CELLS = ("basophils", "blasts")
COLOURS = ((200, 60, 90), (90, 50, 160), (130, 110, 190), (150, 40, 140))


def small_config(**changes: object) -> NetworkConfig:
    """A network of the family that runs in milliseconds."""
    values: dict[str, object] = {
        "size": "nano",
        "input_size": (64, 64),
        "widths": (8, 16, 16, 32),
        "depths": (1, 1, 1, 1),
        "heads": (1, 2, 2, 4),
        "kan_rank": 4,
    }
    return NetworkConfig.model_validate({**values, **changes})


def cell_image(label: int, seed: int) -> NDArray[np.uint8]:
    """A pale field (90, 120, 3) with one dark cell whose colour tells the class."""
    rng = np.random.default_rng([label, seed])
    image = np.full((90, 120, 3), 225, np.uint8)
    centre = (int(rng.integers(40, 80)), int(rng.integers(35, 55)))
    cv2.circle(image, centre, 18, COLOURS[label], -1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_folder(root: Path, per_class: int) -> Path:
    """Write a folder of synthetic cells as PNG."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            image = cv2.cvtColor(cell_image(label, index), cv2.COLOR_RGB2BGR)
            assert cv2.imwrite(str(root / name / f"{index:03}.png"), image)
    return root


def settled_network(config: NetworkConfig, seed: int = 0) -> QLViT:
    """A network with random weights whose statistics and ranges have seen some cells."""
    torch.manual_seed(seed)
    network = QLViT(config)
    height, width = config.input_size
    views = [
        cv2.resize(cell_image(label, index), (width, height))
        for index in range(4)
        for label in range(len(CLASSES))
    ]
    colours = np.stack(views)[..., : config.channels]
    batch = torch.from_numpy(colours).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        for module in network.modules():
            if hasattr(module, "temperature"):
                module.temperature.fill_(1.0)
        for _ in range(30):
            network(batch)
    return network.eval()


def write_run(folder: Path, data: Path, config: NetworkConfig) -> Split:
    """Write a run folder as `train` does, without training; returns its split."""
    folder.mkdir(parents=True)
    split = stratified_split(scan(data), 0.25, 0)
    write_text(folder / SPLIT_FILE, split.model_dump_json())
    write_run_config(
        folder,
        RunConfig(
            network=config,
            classes=list(CLASSES),
            data=str(data),
            split_fingerprint=split.fingerprint,
            training=TrainingSettings(
                epochs=1, batch=8, peak_rate=1e-3, weight_decay=0.05, validation=0.0, seed=0
            ),
            unknown_cells=list(UNKNOWN_CELLS),
        ),
    )
    tensors = dict(settled_network(config).state_dict())
    save_tensors(folder / BEST_FILE, tensors, {"format": FORMAT, "epoch": 1})
    return split
