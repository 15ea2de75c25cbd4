"""The conversion from a run folder to a proven model file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qlvit_edge.calibration.collect import integer_graph
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters import prove
from qlvit_edge.converters.lower import require_lowerable
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite

from qlvit_edge import bundled
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.loader import evaluation_batches
from qlvit_edge.data.split import load_split, require_fit, select
from qlvit_edge.errors import ConversionError, DataError
from qlvit_edge.files import sha256
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.modelfile.metadata import GoldenPair, ModelMetadata, embed
from qlvit_edge.preprocess import PREPROCESSING, load
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, Checkpoint
from qlvit_edge.training.loop import EVALUATION_BATCH, to_input

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
UNKNOWN_CELLS = ["basophils", "band cells", "blasts"]
_GOLDEN_PER_CLASS = 2
_GOLDEN_SOURCE = "BCCD collection (MIT licence), crop of one white cell"


@dataclass(frozen=True)
class ProofImages:
    """What the proof is made on.

    Attributes:
        images: the test images.
        reduced: whether these are the few bundled crops, for want of the test set.
        origin: where they are from, in words.
    """

    images: Sequence[LabelledImage]
    reduced: bool
    origin: str


def proof_images(
    checkpoint: Checkpoint, data: Path | None, split_path: Path | None, is_bundled: bool
) -> ProofImages:
    """Find the test images: those given, else those the run folder records.

    A bundled model without its data is proved on the bundled crops: a reduced proof.

    Raises:
        DataError: the data is not there or does not fit.
    """
    recorded = Path(checkpoint.run.data)
    if data is None and is_bundled:
        images = scan(bundled.CROPS).images
        return ProofImages(images, True, "the bundled crops")
    if data is None and not recorded.is_dir():
        raise DataError(
            recorded, "the data this run was trained on is not there", "name it with --data"
        )
    folder = scan(data or recorded)
    split = load_split(split_path or checkpoint.folder / SPLIT_FILE)
    require_fit(split, folder)
    if list(folder.classes) != checkpoint.run.classes:
        raise DataError(
            folder.root,
            f"has classes {', '.join(folder.classes)}, the run {', '.join(checkpoint.run.classes)}",
            "use the data of this run",
        )
    return ProofImages(select(folder, split.test), False, f"the test side of {folder.root.name}")


@dataclass(frozen=True)
class Conversion:
    """A converted and proven model.

    Attributes:
        model: the file's bytes, metadata inside.
        report: the proof as plain data, as written to `--report`.
        accuracies: what the accuracy budget is held against.
    """

    model: bytes
    report: dict[str, Any]
    accuracies: prove.Accuracies


def convert(
    checkpoint: Checkpoint,
    softmax: Form,
    proof: ProofImages,
    tensor_images: int,
    progress: Progress,
) -> Conversion:
    """Lower, write and prove; the accuracy budget is the caller's to hold.

    Args:
        checkpoint: the trained network.
        softmax: form of the integer softmax.
        proof: the images of the proof.
        tensor_images: how many of them are compared at every tensor.
        progress: makes a progress bar from a description and a total.

    Raises:
        ConversionError: a module cannot be lowered, or the file is not what it should be.
        CalibrationError: there is no calibration of this checkpoint.
        DataError: an image does not decode.
    """
    began = time.monotonic()
    require_lowerable(checkpoint.network)
    calibration_path = checkpoint.folder / CALIBRATION_FILE
    calibration = load_calibration(calibration_path, checkpoint.sha256)
    graph = integer_graph(checkpoint, calibration, softmax)
    bare = write_tflite(graph)
    tensors, operators = prove.audit(bare)
    names = checkpoint.run.classes

    views, labels, float_classes = _float_classes(checkpoint, proof.images, progress)
    chosen = np.unique(np.linspace(0, len(views) - 1, tensor_images).round().astype(int))
    with progress("comparing every tensor", 1) as advance:
        equality = prove.prove_equal(graph, bare, views[chosen])
        advance()
    if equality.unequal:
        name, count = next(iter(equality.unequal.items()))
        raise ConversionError(
            "converted model",
            f"{len(equality.unequal)} of {equality.tensors} tensors differ from the integer "
            f"specification on the reference kernels, first {name} in {count} images",
            "report this as a bug",
        )
    with progress("running the file", len(views)) as advance:
        logits, kernels = prove.default_logits(bare, views, advance)
    difference = prove.kernel_difference(equality.logits, logits[chosen], kernels)
    accuracies = prove.judge(labels, float_classes, logits.argmax(1), names)
    reference_accuracy = float((equality.logits.argmax(1) == labels[chosen]).mean())
    subset = prove.judge(labels[chosen], float_classes[chosen], logits[chosen].argmax(1), names)

    golden = _golden_pairs(graph, names, checkpoint.run.network.input_size)
    kind = "bundled crops (reduced proof)" if proof.reduced else "test split"
    metadata = ModelMetadata(
        name=f"{checkpoint.folder.name}",
        labels=names,
        input_size=checkpoint.run.network.input_size,
        preprocessing=PREPROCESSING,
        softmax=softmax,
        variant=checkpoint.run.network.variant,
        size_name=checkpoint.run.network.size,
        checkpoint_sha256=checkpoint.sha256,
        calibration_sha256=sha256(calibration_path.read_bytes()),
        split_fingerprint=checkpoint.run.split_fingerprint,
        training_data=Path(checkpoint.run.data).name,
        unknown_cells=[cell for cell in UNKNOWN_CELLS if set(names) == _white_cells()],
        accuracy={
            f"float, {kind}": accuracies.float_accuracy,
            f"integer, {kind}": accuracies.file_accuracy,
        },
        golden=golden,
        created_by=f"qlvit-edge {version('qlvit-edge')}",
    )
    model = embed(bare, metadata)
    prove.audit(model)
    report = {
        "reduced_proof": proof.reduced,
        "proof_images": proof.origin,
        "softmax": softmax,
        "tensors": tensors,
        "operators": operators,
        "bytes": len(model),
        "sha256": sha256(model),
        "all_integer": True,
        "builtin_operators_only": True,
        "equality": {
            "images": equality.images,
            "tensors": equality.tensors,
            "unequal": equality.unequal,
        },
        "default_kernels": asdict(difference),
        "accuracy": {**asdict(accuracies), "drop_points": accuracies.drop},
        "reference_accuracy": {
            "images": equality.images,
            "reference": reference_accuracy,
            "float": subset.float_accuracy,
            "file": subset.file_accuracy,
        },
        "golden_pairs": len(golden),
        "seconds": round(time.monotonic() - began, 1),
    }
    return Conversion(model, report, accuracies)


def _float_classes(
    checkpoint: Checkpoint, images: Sequence[LabelledImage], progress: Progress
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the images' views, their labels and the float network's classes."""
    views: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    classes: list[NDArray[np.int64]] = []
    device = torch.device("cpu")
    size = checkpoint.run.network.input_size
    with (
        progress("running the float network", len(images)) as advance,
        torch.inference_mode(),
    ):
        for batch, batch_labels in evaluation_batches(images, size, EVALUATION_BATCH // 2):
            views.append(batch)
            labels.append(batch_labels)
            classes.append(checkpoint.network(to_input(batch, device)).argmax(1).numpy())
            for _ in batch:
                advance()
    return np.concatenate(views), np.concatenate(labels), np.concatenate(classes)


def _white_cells() -> set[str]:
    return set(scan(bundled.CROPS).classes)


def _golden_pairs(graph: Any, names: list[str], size: tuple[int, int]) -> list[GoldenPair]:
    """Make golden pairs from the bundled crops, logits by the NumPy reference.

    For a model of other classes the label is the model's own answer: such a pair still
    tells whether a device computes the same bytes.
    """
    folder = scan(bundled.CROPS)
    pairs = []
    for label, name in enumerate(folder.classes):
        own = [image for image in folder.images if image.label == label]
        for image in own[:_GOLDEN_PER_CLASS]:
            view = load(image.path, size)
            logits = run_reference(graph, {graph.inputs[0].name: view[None]})[
                graph.outputs[0].name
            ][0]
            if name in names:
                pairs.append(GoldenPair.of(view, logits, name, _GOLDEN_SOURCE))
            else:
                own_answer = names[int(logits.argmax())]
                source = f"{_GOLDEN_SOURCE}; label: the model's own answer"
                pairs.append(GoldenPair.of(view, logits, own_answer, source))
    return pairs
