"""A chain of a small network, for tests of chains."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mini_archive import packed_archive, unpacked_archive
from mini_network import CHANNELS, CLASSES, SIZE, calibrated, images

from qlvit_edge.converters.edgetpu.chain import ChainFiles, cut_graph, pack
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import EdgeTpu
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.modelfile.chain import DESCRIPTION
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.preprocess import PREPROCESSING


def edgetpu_graph(form: Form = "fast") -> Graph:
    """The small network in the operators of the Edge TPU."""
    return calibrated(form, images(4), EdgeTpu)[1]


def metadata() -> ModelMetadata:
    """Metadata that fit the small network."""
    return ModelMetadata(
        name="mini",
        labels=[f"CLASS {index}" for index in range(CLASSES)],
        features=CHANNELS,
        input_size=(SIZE, SIZE),
        preprocessing=PREPROCESSING,
        softmax="fast",
        variant="v4",
        size_name="nano",
        checkpoint_sha256="0" * 64,
        calibration_sha256="1" * 64,
        training_data="none",
        created_by="tests",
    )


def mini_chain(share: float = 1.0) -> tuple[ChainFiles, bytes]:
    """The segments and their archive."""
    chain = cut_graph(edgetpu_graph(), share)
    return chain, pack(chain, metadata(), {})


def edited_archive(archive: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """A chain's archive with another description."""
    files = unpacked_archive(archive)
    description = json.loads(files[DESCRIPTION])
    edit(description)
    return packed_archive(list({**files, DESCRIPTION: json.dumps(description).encode()}.items()))
