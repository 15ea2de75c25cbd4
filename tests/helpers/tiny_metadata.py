"""Metadata for the tiny test model, and images of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_model import COLOURS, tiny_model

from qlvit_edge.modelfile.golden_pair import GoldenPair
from qlvit_edge.modelfile.metadata import ModelMetadata, embed
from qlvit_edge.preprocess import PREPROCESSING

CHANNEL = {"RED": 0, "GREEN": 1, "BLUE": 2}


def plain_image(label: str, *, size: int = 8, level: int = 200) -> NDArray[np.uint8]:
    """Return a (size, size, 3) image of one strong colour, which the tiny model knows."""
    image = np.full((size, size, 3), 30, np.uint8)
    image[:, :, CHANNEL[label]] = level
    return image


def plain_logits(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return what the tiny model answers for a plain image, by hand."""
    colour = image[0, 0].astype(np.float64)
    exact = np.array(list(COLOURS.values())) @ colour * 0.01 / 2.0
    return np.clip(np.round(exact), -128, 127).astype(np.int8)


def plain_features(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the features that the tiny model gives of a plain image, by hand."""
    return (image[0, 0].astype(np.int16) - 128).astype(np.int8)


def metadata(*, size: int = 8, golden: bool = True, features: bool = False) -> ModelMetadata:
    """Return metadata that fit the tiny model; of format 3 where it gives its features."""
    pairs = []
    for label in COLOURS if golden else ():
        image = plain_image(label, size=size)
        logits = plain_logits(image)
        kept = plain_features(image) if features else None
        pairs.append(
            GoldenPair.of(
                image, logits, logits, label, "synthetic", features=kept, xnnpack_features=kept
            )
        )
    return ModelMetadata(
        format_version=3 if features else 2,
        features=3 if features else None,
        name="tiny",
        labels=list(COLOURS),
        input_size=(size, size),
        preprocessing=PREPROCESSING,
        softmax="fast",
        variant="v4",
        size_name="nano",
        checkpoint_sha256="0" * 64,
        calibration_sha256="1" * 64,
        training_data="synthetic colours",
        unknown_cells=["basophils", "bands", "blasts"],
        accuracy={"test": 1.0},
        golden=pairs,
        created_by="tests",
    )


def tiny_file(path: Path, *, floating: bool = False, with_metadata: bool = True) -> Path:
    """Write the tiny model, usually with its metadata, to `path` and return it."""
    content = tiny_model(floating=floating)
    path.write_bytes(embed(content, metadata()) if with_metadata else content)
    return path
