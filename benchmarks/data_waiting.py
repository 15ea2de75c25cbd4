"""How much of its time training waits for images.

    python benchmarks/data_waiting.py [--data FOLDER] [--images 512] [--size nano] [--batches 8]
        [--cache memory|disk] [--device auto|cpu|cuda]

Each kind of augmentation trains for some batches as `train` does: views are prepared in background
threads, and what is varied as tensors is varied on the device. Waiting is the share of the time in
which the next batch was not ready. The other columns compare with the same steps on batches that
lie ready in the device's memory, in turns: images per second, and the processor's time of the whole
process, which other programs on the machine disturb less. The table shows medians of the rounds.
Without --data the images are cells drawn by the program, of the size that blood cells are cut to.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from qlvit_edge.choices import AUGMENTS, DEVICES, SIZE_NAMES, Augment
from qlvit_edge.data.ahead import background_threads
from qlvit_edge.data.folder import scan
from qlvit_edge.data.image_store import ImageStore
from qlvit_edge.data.loader import CachedImage, cache_images, drawn_batches, training_batches
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.configs import size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import RunConfig
from qlvit_edge.training.devices import choose_device
from qlvit_edge.training.settings import TrainingSettings
from qlvit_edge.training.state import TrainingState
from qlvit_edge.training.targets import Mixture
from qlvit_edge.training.varying import Varying

SIDE = 320  # pixels of a drawn image
ROUNDS = 3
Ready = tuple[Tensor, Tensor, Mixture | None]


def draw_cells(root: Path, count: int) -> Path:
    """Write a folder of JPEG images, each with one dark cell on a pale field."""
    for index in range(count):
        rng = np.random.default_rng(index)
        image = np.full((SIDE, SIDE, 3), 225, np.uint8)
        centre = rng.integers(SIDE // 3, 2 * SIDE // 3, 2).tolist()
        colour = rng.integers(40, 200, 3).tolist()
        cv2.circle(image, centre, int(rng.integers(SIDE // 8, SIDE // 4)), colour, -1)
        image = np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
        folder = root / f"class {index % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.jpg"), image)
    return root


class Training:
    """Steps of one kind of augmentation, on batches as they are made or on ready ones."""

    def __init__(self, run: RunConfig, cached: list[CachedImage], device: torch.device) -> None:
        self.run, self.cached, self.device = run, cached, device
        network = QLViT(run.network).to(device).train()
        self.state = TrainingState(network, network, torch.optim.AdamW(network.parameters()))
        self.augmentation = loop.augmentation_of(run, cached)
        self.ready = list(self._made(0)[0])
        self._steps(self.ready[:2])

    def _made(self, epoch: int) -> tuple[Iterable[Ready], Varying]:
        settings, network = self.run.training, self.run.network
        chosen = (settings.batch, settings.seed, epoch)
        views = training_batches(
            *(self.cached, network.input_size, *chosen),
            count=settings.images_per_epoch,
            augmentation=self.augmentation,
            threads=background_threads(),
        )
        drawn = drawn_batches(self.cached, *chosen, count=settings.images_per_epoch)
        varying = Varying(self.run, self.device, vary_look=True)
        return varying.varied(views, drawn), varying

    def _steps(self, batches: Iterable[Ready]) -> tuple[float, float]:
        began, worked = time.monotonic(), time.process_time()
        for images, labels, _ in batches:
            loop._step(self.state, 1e-4, images, labels)
        return time.monotonic() - began, time.process_time() - worked

    def round(self, number: int) -> tuple[float, float, float]:
        """Return the share of waiting, and speed and work over those with ready batches."""
        batches, varying = self._made(number)
        took, work = self._steps(batches)
        ready, ready_work = self._steps(self.ready)
        return varying.waited / took, ready / took, work / ready_work


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images; drawn ones if not given")
    parser.add_argument("--images", type=int, default=512, help="at most as many are decoded")
    parser.add_argument("--size", choices=SIZE_NAMES, default="nano")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="of a round")
    parser.add_argument("--cache", choices=("memory", "disk"), default="memory")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = scan(options.data or draw_cells(root / "cells", options.images))
        step = max(1, len(images.images) // options.images)
        network = size_config(options.size, classes=len(images.classes))
        store = ImageStore(options.cache, root)
        chosen = images.images[::step]
        cached = cache_images(chosen, network.input_size, lambda: None, [], store)
        print(
            f"{describe_machine().words}, PyTorch {torch.__version__}; {device}, "
            f"{torch.get_num_threads()} threads, {background_threads()} in the background;"
        )
        print(f"{options.size}, batches of {options.batch}, {len(cached)} images in "
              f"{options.cache}\n")  # fmt: skip
        print("| `--augment` | waiting for data | speed | processor time |")
        print("|---|---|---|---|")
        for augment in AUGMENTS:
            run = _run(augment, network, images.classes, options)
            training = Training(run, cached, device)
            rounds = [training.round(number + 1) for number in range(ROUNDS)]
            waiting, *ratios = (statistics.median(column) for column in zip(*rounds, strict=True))
            figures = " | ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"| `{augment}` | {waiting:.1%} | {figures} |", flush=True)


def _run(
    augment: Augment, network: object, classes: Iterable[str], options: argparse.Namespace
) -> RunConfig:
    settings = TrainingSettings(
        epochs=1,
        batch=options.batch,
        peak_rate=1e-4,
        weight_decay=0.05,
        validation=0.0,
        seed=0,
        augment=augment,
        images_per_epoch=options.batch * options.batches,
    )
    return RunConfig.model_validate(
        {"network": network, "classes": list(classes), "data": "", "split_fingerprint": "",
         "training": settings}
    )  # fmt: skip


if __name__ == "__main__":
    main()
