"""Networks and files that several benchmarks share; no command of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ops import idiom

from qlvit_edge import bundled
from qlvit_edge.calibration.collect import calibrate, integer_graph
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.float_builder import FloatBuilder, Softmax
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.model.configs import size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import (
    CALIBRATION_FILE,
    Checkpoint,
    RunConfig,
    TrainingSettings,
)

CALIBRATION_IMAGES = 4
GEMM_SIDE, GEMM_CHANNELS = 56, 512


def untrained(size: str) -> Checkpoint:
    """Return a network of random weights (seed 0) as if it had been read from a run folder."""
    torch.manual_seed(0)
    config = size_config(size)
    settings = TrainingSettings(
        epochs=0, batch=1, peak_rate=0, weight_decay=0, validation=0, seed=0
    )
    run = RunConfig(network=config, classes=[], data="", split_fingerprint="", training=settings)
    return Checkpoint(Path(size), run, QLViT(config).eval(), "")


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


def twin(checkpoint: Checkpoint, softmax: Softmax) -> bytes:
    """Return the float32 file of the network, its softmax in codes or plain."""
    return write_tflite(lower(checkpoint.network, FloatBuilder("twin", softmax=softmax)))


def gemm() -> bytes:
    """Return one large 1×1 convolution in int8: what the runtime's matrix product can do."""
    shape = (1, GEMM_SIDE, GEMM_SIDE, GEMM_CHANNELS)
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(GEMM_CHANNELS, 1, 1, GEMM_CHANNELS))
    return write_tflite(idiom(shape, lambda b, x: b.conv(x, weight, name="y")))
