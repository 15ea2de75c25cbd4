"""One training that leaves a microscope out, and how it answers on each: `unseen_microscope.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from unseen.microscopes import fewer, training_set

from qlvit_edge.adaptation.statistics import reestimated
from qlvit_edge.data.labelled import NO_CLASS, LabelledImage
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.evaluation import metrics
from qlvit_edge.inference.classifier import ACCEPT_AT
from qlvit_edge.model.configs import NetworkConfig, size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import decode
from qlvit_edge.training.checkpoint import Checkpoint, RunConfig, load_checkpoint
from qlvit_edge.training.listener import Listener
from qlvit_edge.training.prediction import EVALUATION_BATCH
from qlvit_edge.training.session import run_training
from qlvit_edge.training.settings import TrainingSettings
from qlvit_edge.training.start import started_from
from qlvit_edge.training.varying import to_input

CPU = torch.device("cpu")
VIEWS = {"whole image": whole_view, "cell crop": cell_view}
STATISTICS = ("trained", "re-estimated")
COVERAGES = (0.25, 0.5, 0.75, 0.9, 1.0)
CURVE_POINTS = 50
TESTED = 20
"""Held-out images of each class and microscope in the run's own test figure."""


@dataclass(frozen=True)
class Effort:
    """How much a training may cost.

    Attributes:
        size: of the network.
        steps: of training, of ``batch`` images.
        batch: images per step.
        rate: peak learning rate.
        most: training images of each class and microscope at most; 0: all.
        start: the run whose weights it starts from; None: from random ones.
    """

    size: str
    steps: int
    batch: int
    rate: float
    most: int
    start: Checkpoint | None


@dataclass(frozen=True)
class Cells:
    """Cells that are scored, as the network is fed them.

    Attributes:
        labels: (N,) among the common classes, or `NO_CLASS`.
        views: by way of looking, (N, h, w, 3) uint8.
    """

    labels: NDArray[np.int64]
    views: Mapping[str, NDArray[np.uint8]]


def network_config(effort: Effort, classes: int) -> NetworkConfig:
    """Return the network that is trained."""
    if effort.start is not None:
        return effort.start.run.network.model_copy(update={"classes": classes})
    return size_config(effort.size, classes=classes)


def prepare(images: Sequence[LabelledImage], size: tuple[int, int]) -> Cells:
    """Decode images and look at them in each way."""

    def one(image: LabelledImage) -> list[NDArray[np.uint8]]:
        pixels = decode(image.path)
        return [view(pixels, size, 3) for view in VIEWS.values()]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, images))
    ways = zip(VIEWS, zip(*found, strict=True), strict=True)
    labels = np.array([image.label for image in images])
    return Cells(labels, {way: np.stack(views) for way, views in ways})


def train(
    classes: Sequence[str],
    training: Sequence[LabelledImage],
    held_out: Sequence[LabelledImage],
    settings: Mapping[str, Any],
    effort: Effort,
    out: Path,
) -> Checkpoint:
    """Train as `qlvit-edge train` does, or read the run that is already there.

    Args:
        classes: the common classes.
        training: images to train on.
        held_out: images of the same microscopes for the run's own test side.
        settings: of `TrainingSettings`, beside those of ``effort``.
        effort: how much it may cost.
        out: the run folder.
    """
    if (out / "metrics.json").exists():
        return load_checkpoint(out)
    folder, split = training_set(
        out, classes, fewer(training, effort.most), fewer(held_out, TESTED)
    )
    start = effort.start
    run = RunConfig(
        network=network_config(effort, len(folder.classes)),
        classes=list(folder.classes),
        data="several microscopes",
        split_fingerprint=split.fingerprint,
        training=TrainingSettings(
            epochs=1,
            batch=effort.batch,
            peak_rate=effort.rate,
            weight_decay=0.05,
            validation=0.0,
            images_per_epoch=effort.steps * effort.batch,
            **settings,
        ),
        started_from=None if start is None else started_from(start),
    )
    out.mkdir(parents=True, exist_ok=True)
    run_training(run, out, folder, split, CPU, False, Listener(), start=start)
    return load_checkpoint(out)


def score(checkpoint: Checkpoint, cells: Cells, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return how a network answers on cells: one row per way of looking and statistics."""
    own = checkpoint.run.classes
    outputs = {row: own.index(name) for row, name in enumerate(classes) if name in own}
    truth = np.array([outputs.get(label, NO_CLASS) for label in cells.labels.tolist()])
    rows = []
    for way, views in cells.views.items():
        for statistics in STATISTICS:
            network = checkpoint.network
            if statistics == "re-estimated":
                network = reestimated(network, views)
            probabilities = _probabilities(network, views)
            found = judge(probabilities, truth, own)
            rows.append({"view": way, "statistics": statistics, **found})
    return rows


@torch.no_grad()
def _probabilities(network: QLViT, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    parts = [
        torch.softmax(network(to_input(views[start : start + EVALUATION_BATCH], CPU)), 1)
        for start in range(0, len(views), EVALUATION_BATCH)
    ]
    return torch.cat(parts).double().numpy()


def judge(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of some answers.

    Args:
        probabilities: (N, outputs).
        truth: (N,) the right outputs; `NO_CLASS` for cells that the network does not know.
        classes: of the outputs.
    """
    known = truth != NO_CLASS
    answers, confidence = probabilities.argmax(1), probabilities.max(1)
    right = answers == truth
    accepted = confidence >= ACCEPT_AT
    coverage, risk = metrics.risk_coverage(right[known], confidence[known])
    recalls = {classes[c]: float(right[truth == c].mean()) for c in np.unique(truth[known])}
    points = np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS)
    return {
        "images": int(known.sum()),
        "macro_recall": float(np.mean(list(recalls.values()))),
        "recalls": recalls,
        "risk_area": metrics.risk_area(coverage, risk),
        "risk_at": {str(wanted): metrics.risk_at(coverage, risk, wanted) for wanted in COVERAGES},
        "curve": [metrics.risk_at(coverage, risk, point) for point in points],
        "accepted": float(accepted[known].mean()),
        "accepted_wrong": float((accepted & ~right)[known].mean()),
        "unknown_images": int((~known).sum()),
        "unknown_accepted": float(accepted[~known].mean()) if (~known).any() else None,
    }
