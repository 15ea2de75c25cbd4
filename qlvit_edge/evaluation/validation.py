"""Measure a model file on this device: accuracy, golden pairs, latency, memory.

The model sees what it will see in use: images decoded and resized by the shared
preprocessing, or the crops that the cell finder makes of them. Reports are drawn elsewhere.
"""

from __future__ import annotations

import math
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.errors import DataError, ModelFileError
from qlvit_edge.evaluation import metrics
from qlvit_edge.evaluation.quality import Quality, measure_quality
from qlvit_edge.evaluation.validation_report import (
    DataFacts,
    Host,
    KernelFacts,
    Measurement,
    Memory,
    ModelFacts,
)
from qlvit_edge.fields.finder import CROP_MARGIN, crop, find_cells
from qlvit_edge.files import sha256
from qlvit_edge.inference.chain import ChainInterpreter, open_isolated
from qlvit_edge.inference.classifier import softmax
from qlvit_edge.inference.golden import compare_golden
from qlvit_edge.inference.interpreter import Interpreter, Kernels, Runtime
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.modelfile.audit import AuditResult, audit_integer_only
from qlvit_edge.modelfile.chain import read_model
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import decode_noting, preprocess, recipe

RESEARCH_ONLY = "For research use only, not for diagnosis."


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


@dataclass(frozen=True)
class Answer:
    """What the model answered for one image.

    Attributes:
        image: the image with its true label, an index into the report's classes.
        predicted: index of the most probable class, or None when no cell was found.
        probabilities: of every class; zeros when no cell was found.
        seconds: time of the inference, NaN without one.
    """

    image: LabelledImage
    predicted: int | None
    probabilities: tuple[float, ...]
    seconds: float


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
        or len(outputs) != 1
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


def class_order(model: Model, folder: ImageFolder) -> list[int]:
    """Return the model's output number for every class of the folder.

    Raises:
        DataError: the folder's classes are not the model's.
    """
    if model.labels is None:
        if len(folder.classes) != model.outputs:
            raise DataError(
                folder.root,
                f"has {len(folder.classes)} classes, the model {model.outputs} outputs",
                "give the images that the model was made for",
            )
        return list(range(model.outputs))
    missing = [label for label in model.labels if label not in folder.classes]
    unknown = [name for name in folder.classes if name not in model.labels]
    if missing or unknown:
        parts = [f"the model does not know {', '.join(unknown)}"] if unknown else []
        parts += [f"there is no folder {', '.join(missing)}"] if missing else []
        raise DataError(
            folder.root,
            " and ".join(parts),
            f"name the class folders {', '.join(model.labels)}",
        )
    return [model.labels.index(name) for name in folder.classes]


def validate(
    model: Model,
    folder: ImageFolder,
    images: Sequence[LabelledImage],
    *,
    order: list[int],
    kernels: Kernels,
    runtime: Runtime,
    find: bool,
    groups: dict[str, str],
    advance: Callable[[], None],
) -> tuple[Measurement, list[Answer]]:
    """Measure a model on labelled images.

    Args:
        model: from `open_model`.
        folder: where the images are from; its classes are the report's.
        images: what to measure on, at least one.
        order: from `class_order`.
        kernels: which kernels to run.
        runtime: which runtime to use.
        find: classify the finder's crop of each image instead of the whole image.
        groups: relative name → source, for the interval; empty draws single images.
        advance: called after every image.

    Returns:
        What was measured, and every answer in the order of the images.

    Raises:
        DataError: an image does not decode.
        ModelFileError: the runtime refuses the model or crashes on it.
        DeviceError: the runtime is not installed.
    """
    before = _peak_memory()
    interpreter = open_isolated(model.content, kernels=kernels, runtime=runtime, subject=model.path)
    golden = compare_golden(model.metadata, interpreter)
    answers = []
    kinds: list[str] = []
    for image in images:
        picture = model_picture(decode_noting(image.path, kinds), find=find)
        answers.append(_answer(model, interpreter, image, picture, order))
        advance()
    peak = _peak_memory()
    classes = folder.classes
    found = Measurement(
        model=_about(model),
        data=DataFacts(
            folder=str(folder.root),
            images=len(images),
            classes={
                name: sum(image.label == label for image in images)
                for label, name in enumerate(classes)
            },
            input=f"crop by the cell finder, margin {CROP_MARGIN}" if find else "whole image",
            without_cell=sum(answer.predicted is None for answer in answers),
            unusual=dict(sorted(Counter(kinds).items())),
        ),
        quality=_quality(classes, answers, groups),
        golden=golden,
        latency_ms=_latency(answers),
        memory_bytes=Memory(peak=peak, before_model=before),
        kernels=KernelFacts(
            asked=kernels.value,
            runtime=runtime,
            used=interpreter.kernels_used,
            xnnpack_missing=interpreter.xnnpack_missing,
            arithmetic=str(interpreter.arithmetic),
            proved=interpreter.arithmetic.proved,
        ),
        machine=Host(
            processor=platform.machine(),
            system=platform.platform(),
            python=platform.python_version(),
        ),
    )
    return found, answers


def model_picture(image: NDArray[np.uint8], *, find: bool) -> NDArray[np.uint8] | None:
    """Return what is classified of a decoded image; None when no cell is found in it."""
    if not find:
        return image
    cells = find_cells(image)
    return crop(image, cells[0], CROP_MARGIN) if cells else None


def _answer(
    model: Model,
    interpreter: Interpreter | ChainInterpreter,
    image: LabelledImage,
    picture: NDArray[np.uint8] | None,
    order: list[int],
) -> Answer:
    """Classify what is shown of an image; None: no cell was found in it."""
    if picture is None:
        return Answer(image, None, (0.0,) * len(order), math.nan)
    pixels = preprocess(picture, model.input_size, model.channels)
    values = as_input(pixels, interpreter.input)
    started = time.perf_counter()
    output = interpreter.invoke(values)
    seconds = time.perf_counter() - started
    values = interpreter.output.dequantise(output)[0]
    chances = (values if model.gives_probabilities else softmax(values))[order]
    return Answer(image, int(chances.argmax()), tuple(map(float, chances)), seconds)


def _quality(
    classes: tuple[str, ...], answers: Sequence[Answer], groups: dict[str, str]
) -> Quality:
    """Compare the answers with the true classes."""
    count = len(classes)
    predicted = [count if answer.predicted is None else answer.predicted for answer in answers]
    return measure_quality(
        classes,
        np.array([answer.image.label for answer in answers], np.int64),
        np.array(predicted, np.int64),
        np.array([answer.probabilities for answer in answers]),
        [groups.get(answer.image.relative, answer.image.relative) for answer in answers],
        grouped=bool(groups),
    )


def _about(model: Model) -> ModelFacts:
    metadata = model.metadata
    return ModelFacts(
        file=str(model.path),
        sha256=sha256(model.content),
        bytes=len(model.content),
        integer_only=model.audit.integer_only,
        verdict=model.audit.verdict,
        name=None if metadata is None else metadata.name,
        unknown_cells=None if metadata is None else metadata.unknown_cells,
        intended_use=None if metadata is None else metadata.intended_use,
        training_data=None if metadata is None else metadata.training_data,
        split_fingerprint=None if metadata is None else metadata.split_fingerprint,
    )


def _latency(answers: Sequence[Answer]) -> dict[str, float] | None:
    times = [1000 * answer.seconds for answer in answers if not math.isnan(answer.seconds)]
    if not times:
        return None
    return {"mean": float(np.mean(times)), **metrics.percentiles(times)}


def _peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
