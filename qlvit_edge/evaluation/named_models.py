"""What is known of the models that have a name: read from their files and cards, without torch."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlvit_edge import bundled
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.metadata import ModelMetadata, read_metadata
from qlvit_edge.modelfile.reader import read_bytes

CARD = "MODEL_CARD.md"
WEIGHTS = "best.safetensors"

_BUFFERS = frozenset(
    {"high", "low", "mean", "num_batches_tracked", "running_mean", "running_var", "std"}
    | {"temperature"}
)
"""Last words of the names of what a network keeps beside its parameters."""

_MOST_CARD_BYTES = 1 << 20
_MOST_HEADER_BYTES = 16 << 20
_FIGURES = re.compile(r"<!-- figures[^\n]*-->\n(.*?)<!-- end of the figures -->", re.DOTALL)


@dataclass(frozen=True)
class NamedModel:
    """A model by its name.

    Attributes:
        name: what commands call it.
        folder: its run folder.
        bundled: whether the package brings it along; if not, the repository does.
        file: its model file; None where there is none.
        file_bytes: size of the file.
        sha256: of the file.
        metadata: what the file says about itself.
        parameters: of the network, counted in its weights; None where these are not there.
        trainable: whether the folder holds weights, for `calibrate`, `train --from` and others.
        error: why the file cannot be read.
    """

    name: str
    folder: Path
    bundled: bool
    file: Path | None
    file_bytes: int | None = None
    sha256: str | None = None
    metadata: ModelMetadata | None = None
    parameters: int | None = None
    trainable: bool = False
    error: str | None = None

    @property
    def input(self) -> str:
        """Size and colour of the input in words."""
        if self.metadata is None:
            return "–"
        height, width = self.metadata.input_size
        return f"{height}×{width} {self.metadata.colour}"

    @property
    def accuracy(self) -> tuple[float, str] | None:
        """Of the integer file, with what it was measured on; as its conversion found it."""
        figures = {} if self.metadata is None else self.metadata.accuracy
        for what, value in figures.items():
            if what.startswith("integer, "):
                return value, what.removeprefix("integer, ")
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        known = self.metadata
        return {
            "name": self.name,
            "folder": str(self.folder),
            "bundled": self.bundled,
            "file": None if self.file is None else str(self.file),
            "bytes": self.file_bytes,
            "sha256": self.sha256,
            "parameters": self.parameters,
            "trainable": self.trainable,
            "error": self.error,
            "size": None if known is None else known.size_name,
            "variant": None if known is None else known.variant,
            "classes": None if known is None else known.labels,
            "input_size": None if known is None else list(known.input_size),
            "colour": None if known is None else known.colour,
            "training_data": None if known is None else known.training_data,
            "unknown_cells": None if known is None else known.unknown_cells,
            "guard": None if known is None else known.guard is not None,
            "accuracy": None if known is None else known.accuracy,
        }


def named_model(name: str) -> NamedModel:
    """Read what is known of a model.

    Raises:
        CheckpointError: there is none of that name.
    """
    folder = bundled.folder_of(name)
    weights, file = folder / WEIGHTS, folder / f"{name}.tflite"
    facts: dict[str, Any] = {}
    try:
        if weights.is_file():
            facts["parameters"] = count_parameters(weights)
        if file.is_file():
            content = read_bytes(file)
            facts.update(file_bytes=len(content), sha256=sha256(content))
            facts["metadata"] = read_metadata(content, subject=file)
    except QLViTEdgeError as error:
        facts["error"] = str(error)
    return NamedModel(
        name=name,
        folder=folder,
        bundled=bundled.is_bundled(name),
        file=file if file.is_file() else None,
        trainable=weights.is_file(),
        **facts,
    )


def count_parameters(weights: Path) -> int | None:
    """Count the parameters in a file of weights, by its header; None where it is damaged."""
    try:
        with weights.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(size, _MOST_HEADER_BYTES)))
        return sum(
            math.prod(map(int, entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__" and name.rpartition(".")[2] not in _BUFFERS
        )
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError):
        return None


def card_text(model: NamedModel) -> str:
    """Return a model's card; empty where it has none."""
    try:
        with (model.folder / CARD).open("rb") as stream:
            return stream.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def essentials(card: str) -> Iterator[tuple[str, str]]:
    """Yield what a card says first, its first figures, and what it says is not known.

    Args:
        card: Markdown; the figures stand between the marks of `benchmarks/cards.py`.

    Yields:
        a heading and a text of one or more paragraphs.
    """
    body = card.partition("\n")[2] if card.startswith("# ") else card
    introduction = body.partition("\n## ")[0].strip()
    if introduction:
        yield "What it is", introduction
    marked = _FIGURES.search(card)
    if marked is None:
        return
    figures, _, rest = marked[1].partition("\n### ")
    first = "\n\n".join(figures.strip().split("\n\n")[:2])
    if first:
        yield "Figures", first
    heading, _, text = rest.partition("\n")
    if text.strip():
        yield heading.strip(), text.partition("\n### ")[0].strip()
