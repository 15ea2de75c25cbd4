"""Networks and files that several benchmarks share; no command of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ops import idiom

from qlvit_edge import bundled
from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.idioms.convolutions import conv
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.files import write_text
from qlvit_edge.model.configs import size_config
from qlvit_edge.model.family import SoftmaxForm
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    CALIBRATION_FILE,
    FORMAT,
    SPLIT_FILE,
    Checkpoint,
    RunConfig,
    save_tensors,
    write_run_config,
)
from qlvit_edge.training.settings import TrainingSettings

CALIBRATION_IMAGES = 4
GEMM_SIDE, GEMM_CHANNELS = 56, 512


def untrained(size: str, **changes: object) -> Checkpoint:
    """Return a network of random weights (seed 0) as if it had been read from a run folder.

    `changes` are those of :func:`qlvit_edge.model.configs.size_config`.
    """
    torch.manual_seed(0)
    config = size_config(size, **changes)
    settings = TrainingSettings(
        epochs=0, batch=1, peak_rate=0, weight_decay=0, validation=0, seed=0
    )
    run = RunConfig(network=config, classes=[], data="", split_fingerprint="", training=settings)
    return Checkpoint(Path(size), run, QLViT(config).eval(), "")


def write_untrained_run(folder: Path, size: str, data: Path) -> None:
    """Write a run folder of random weights for a folder of images, as `train` leaves one."""
    images = scan(data)
    config = untrained(size).run.network.model_copy(update={"classes": len(images.classes)})
    split = stratified_split(images, 0.2, 0)
    folder.mkdir(parents=True)
    write_text(folder / SPLIT_FILE, split.model_dump_json())
    settings = TrainingSettings(
        epochs=1, batch=1, peak_rate=0, weight_decay=0, validation=0, seed=0
    )
    run = RunConfig(
        network=config,
        classes=list(images.classes),
        data=str(data.resolve()),
        split_fingerprint=split.fingerprint,
        training=settings,
    )
    write_run_config(folder, run)
    torch.manual_seed(0)
    tensors = dict(QLViT(config).state_dict())
    save_tensors(folder / BEST_FILE, tensors, {"format": FORMAT, "epoch": 1})


def build(checkpoint: Checkpoint) -> bytes:
    """Return the int8 file, `fast` softmax, with the run's calibration or one on the crops."""
    path = checkpoint.folder / CALIBRATION_FILE
    if path.is_file():
        calibration = load_calibration(path, checkpoint.sha256)
    else:
        images = scan(bundled.CROPS).images
        few = images[:: -(-len(images) // CALIBRATION_IMAGES)]
        calibration = calibrate(checkpoint, few, "minmax", lambda: None)
    return write_tflite(integer_graph(checkpoint, calibration, "fast"))


def twin(checkpoint: Checkpoint, softmax: SoftmaxForm) -> bytes:
    """Return the float32 file of the network, its softmax in codes or plain."""
    return write_tflite(float_graph(checkpoint.network, "twin", softmax))


def gemm() -> bytes:
    """Return one large 1×1 convolution in int8: what the runtime's matrix product can do."""
    shape = (1, GEMM_SIDE, GEMM_SIDE, GEMM_CHANNELS)
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(GEMM_CHANNELS, 1, 1, GEMM_CHANNELS))
    return write_tflite(idiom(shape, lambda b, x: conv(b, x, weight, name="y")))
