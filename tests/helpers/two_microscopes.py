"""Cells as two microscopes show them, and a small network that knows the first."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from small_run import CLASSES, cell_image, settled_network, small_config, write_folder, write_run
from torch import nn

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import select
from qlvit_edge.data.training_images import list_training_images, write_training_images
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import BEST_FILE, FORMAT, save_tensors
from qlvit_edge.training.varying import to_input

Pictures = NDArray[np.uint8]


def elsewhere(picture: Pictures) -> Pictures:
    """The same cell on a microscope with a dim, yellow lamp and a weak stain."""
    light = np.array([0.75, 0.62, 0.42]) * picture.astype(np.float64) ** 0.8 * 255**0.2
    return np.clip(light, 0, 255).astype(np.uint8)


def views(
    per_class: int, *, start: int = 0, other: bool = False
) -> tuple[Pictures, NDArray[np.int64]]:
    """Views (1, N, 64, 64, 3) of cells of every class, and their labels (N,)."""
    pictures, labels = [], []
    for label in range(len(CLASSES)):
        for number in range(start, start + per_class):
            picture = cell_image(label, number)
            picture = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
            pictures.append(elsewhere(picture) if other else picture)
            labels.append(label)
    return np.stack(pictures)[None], np.array(labels)


@cache
def _trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = settled_network(small_config()).train()
    (shown,), labels = views(24)
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        drawn = rng.choice(len(shown), 32)
        logits = network(to_input(shown[drawn], torch.device("cpu")))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels[drawn]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.state_dict()


def trained_network() -> QLViT:
    """A network that answers cells of the first microscope rightly; made once."""
    network = QLViT(small_config())
    network.load_state_dict(_trained())
    return network.eval()


def write_trained_run(folder: Path) -> Path:
    """Write a run folder of that network, with its list of training images; returns it."""
    data = write_folder(folder / "data", 5)
    split = write_run(folder / "run", data, small_config())
    save_tensors(folder / "run" / BEST_FILE, dict(_trained()), {"format": FORMAT, "epoch": 1})
    training = select(scan(data), split.train)
    listed = list_training_images(training, split.fingerprint, lambda: None)
    write_training_images(folder / "run", listed)
    return folder / "run"


def write_elsewhere(folder: Path, per_class: int, *, start: int = 1000, labelled: bool) -> Path:
    """Write cells of the second microscope as PNG, in folders of classes or of slides."""
    for label, name in enumerate(CLASSES):
        for number in range(start, start + per_class):
            inside = folder / (name if labelled else f"slide {number % 2}")
            inside.mkdir(parents=True, exist_ok=True)
            picture = cv2.cvtColor(elsewhere(cell_image(label, number)), cv2.COLOR_RGB2BGR)
            assert cv2.imwrite(str(inside / f"{label}-{number}.png"), picture)
    return folder
