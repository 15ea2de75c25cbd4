"""The model file that a validation measures: what it says, and that it is a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.audit import AuditResult, audit_integer_only
from qlvit_edge.modelfile.chain import read_model
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import recipe


@dataclass(frozen=True)
class Model:
    """A model file that is ready to be measured.

    Attributes:
        path: the file.
        content: its bytes.
        metadata: what it says about itself; None when another tool wrote it.
        audit: what keeps it from being an integer model.
        input_size: height and width in pixels.
        channels: of its input, 3 (RGB) or 1 (grey).
        labels: class names in the order of its outputs; None when it does not say.
        outputs: number of its outputs.
        gives_probabilities: they went through a softmax inside the file.
    """

    path: Path
    content: bytes
    metadata: ModelMetadata | None
    audit: AuditResult
    input_size: tuple[int, int]
    channels: int
    labels: tuple[str, ...] | None
    outputs: int
    gives_probabilities: bool


def open_model(path: Path) -> Model:
    """Read a model file and check that it is an image classifier.

    Raises:
        ModelFileError: damaged, no image classifier, or in need of another preprocessing.
    """
    content = read_bytes(path)
    opened = read_model(content, subject=path)
    metadata, inputs, outputs = opened.metadata, opened.inputs, opened.outputs
    if (
        len(inputs) != 1
        or len(outputs) != (1 if metadata is None or metadata.features is None else 2)
        or len(inputs[0].shape) != 4
        or inputs[0].shape[0] != 1
        or inputs[0].shape[3] not in (1, 3)
        or len(outputs[0].shape) != 2
        or outputs[0].shape[0] != 1
    ):
        shapes = [list(tensor.shape) for tensor in (*inputs, *outputs)]
        raise ModelFileError(
            path,
            f"it is no image classifier (inputs and outputs {shapes})",
            "give a model of one input (1, height, width, 3 or 1) and one output (1, classes)",
        )
    _, height, width, channels = inputs[0].shape
    if metadata is not None and metadata.preprocessing != recipe(channels):
        raise ModelFileError(
            path,
            f"it wants preprocessing {metadata.preprocessing!r}, not {recipe(channels)!r}",
            "convert the model again or use the version that made it",
        )
    return Model(
        path=path,
        content=content,
        metadata=metadata,
        audit=audit_integer_only(opened.document),
        input_size=(height, width),
        channels=channels,
        labels=None if metadata is None else tuple(metadata.labels),
        outputs=outputs[0].shape[1],
        gives_probabilities=opened.ends_in_softmax,
    )
