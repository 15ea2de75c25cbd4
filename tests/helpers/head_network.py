"""A stem and a head of the family and nothing between, as integer files, for tests of heads."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.arithmetic import mean_hw
from qlvit_edge.converters.idioms.convolutions import conv, dense, depthwise, pad
from qlvit_edge.converters.idioms.image import input_image
from qlvit_edge.converters.idioms.layer_norm import standardise
from qlvit_edge.converters.idioms.layout import reshape
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.metadata import ModelMetadata, embed
from qlvit_edge.preprocess import PREPROCESSING

Norm = Literal["none", "batch", "layer"]

SIDES, CHANNELS, CLASSES = (16, 24), 12, 5


def build(writer: Writer, norm: Norm, widest: float) -> Graph:
    """Stem of stride 4, average, norm, linear layer.

    Args:
        writer: takes the operations.
        norm: of the averages.
        widest: features beyond it, either way, are cut off.
    """
    random = np.random.default_rng(1)
    image = pad(writer, input_image(writer, *SIDES, 3), 3, 3, 3, 3, name="stem/padded")
    weight = random.normal(0, 0.004, (CHANNELS, 7, 7, 3))
    x = conv(writer, image, weight, random.normal(0, 1, CHANNELS), stride=4, name="stem")
    features = mean_hw(writer, x, name="head/pooled")
    if norm == "layer":
        features = standardise(writer, features, 1e-5, name="head/norm")
    if norm != "none":
        features = depthwise(
            writer,
            features,
            random.normal(0, 1, (1, 1, CHANNELS)),
            random.normal(0, 0.5, CHANNELS),
            name="head/features",
            fixed_range=(-widest, widest),
        )
    weights, bias = random.normal(0, 1, (CLASSES, CHANNELS)), random.normal(0, 1, CLASSES)
    logits = dense(writer, features, weights, bias, name="head/logits")
    writer.output(reshape(writer, logits, (1, CLASSES), name="logits"))
    writer.output(features)
    return writer.build()


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random images (count, *SIDES, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, SIDES[0] // 8, SIDES[1] // 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


def head_file(norm: Norm = "batch", *, widest: float = 6.0) -> bytes:
    """Return the integer file with metadata."""
    floating = build(Writer("head", Float()), norm, widest)
    interpreter = Interpreter(
        write_tflite(floating), kernels=Kernels.REFERENCE, keep_all_tensors=True
    )
    seen: dict[str, list[NDArray[np.float32]]] = {}
    for image in pictures(16).astype(np.float32):
        interpreter.invoke(image[np.newaxis])
        for name, values in interpreter.tensors().items():
            seen.setdefault(name, []).append(values)
    ranges = {name: (float(np.min(all_)), float(np.max(all_))) for name, all_ in seen.items()}
    graph = build(Writer("head", Int8(ScaleTable(ranges, {}), "fast")), norm, widest)
    return embed(write_tflite(graph), _metadata())


def _metadata() -> ModelMetadata:
    return ModelMetadata(
        name="head",
        labels=[f"CLASS {index}" for index in range(CLASSES)],
        features=CHANNELS,
        input_size=SIDES,
        preprocessing=PREPROCESSING,
        softmax="fast",
        variant="v4",
        size_name="nano",
        checkpoint_sha256="0" * 64,
        calibration_sha256="1" * 64,
        training_data="none",
        created_by="tests",
    )
