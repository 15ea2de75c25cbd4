"""The conversion from a run folder to a proven model file."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge import bundled
from qlvit_edge.converters import prove
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import Scales
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.checks import decode_noting
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.split import load_split, require_fit, select
from qlvit_edge.errors import ConversionError, DataError
from qlvit_edge.files import sha256
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.modelfile.metadata import GoldenPair, ModelMetadata, embed
from qlvit_edge.preprocess import load, preprocess, recipe
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, Checkpoint
from qlvit_edge.training.loop import to_input

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
UNKNOWN_CELLS = ["basophils", "band cells", "blasts"]
# Small enough for its maps to stay in a core's cache: half the time of a batch of 64.
_FLOAT_BATCH_PIXELS = 16 * 96 * 96
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
    own = load_split(checkpoint.folder / SPLIT_FILE)
    split = load_split(split_path) if split_path is not None else own
    require_fit(split, folder)
    trained_on = set(split.test) & set(own.train)
    if trained_on:
        raise DataError(
            split_path,
            f"has {len(trained_on)} images on its test side that this run was trained on",
            "prove on the run's own split, or train on this one",
        )
    if list(folder.classes) != checkpoint.run.classes:
        raise DataError(
            folder.root,
            f"has classes {', '.join(folder.classes)}, the run {', '.join(checkpoint.run.classes)}",
            "use the data of this run",
        )
    return ProofImages(select(folder, split.test), False, f"the test side of {folder.root.name}")


@dataclass(frozen=True)
class Extent:
    """How many test images the proof is made on, evenly chosen.

    None stands for a default that depends on the network: above `LARGE` multiply-accumulates
    the reference kernels take half a second an image, and the default is less than all.

    Attributes:
        compared: compared with the NumPy reference on the reference kernels.
        at_every_tensor: of these, compared at every tensor instead of the logits alone;
            None: all, of a large network 8.
        judged: accuracy and default kernels; None: the whole test side, of a large network
            as many as are compared.
    """

    compared: int = 200
    at_every_tensor: int | None = None
    judged: int | None = None

    LARGE = 500_000_000

    def for_network(self, macs: int, available: int) -> tuple[int, int, int]:
        """Return (judged, compared, at_every_tensor) of a network and its test images."""
        large = macs > self.LARGE
        judged = self.judged or (self.compared if large else available)
        compared = min(self.compared, judged, available)
        whole = self.at_every_tensor or (8 if large else compared)
        return min(judged, available), compared, min(whole, compared)


@dataclass(frozen=True)
class Conversion:
    """A converted and proven model.

    Attributes:
        model: the file's bytes, metadata inside.
        report: the proof as plain data, as written to `--report`.
        accuracies: what the accuracy budget is held against.
        graph: the integer graph it was written from.
        metadata: what the file says about itself.
        views: (N, h, w, channels) uint8, the images of the proof.
        compared: which of them were compared at every tensor, as indices.
        logits: (N, classes) int8, of the default kernels.
    """

    model: bytes
    report: dict[str, Any]
    accuracies: prove.Accuracies
    graph: Graph
    metadata: ModelMetadata
    views: NDArray[np.uint8]
    compared: NDArray[np.int64]
    logits: prove.Logits


def convert(
    checkpoint: Checkpoint,
    scales: Scales,
    softmax: Form,
    proof: ProofImages,
    extent: Extent,
    progress: Progress,
    target: type[Int8] = Int8,
    graph: Graph | None = None,
) -> Conversion:
    """Lower, write and prove; the accuracy budget is the caller's to hold.

    Args:
        checkpoint: the trained network.
        scales: its calibration.
        softmax: form of the integer softmax.
        proof: the images of the proof.
        extent: how many of them, for what.
        progress: makes a progress bar from a description and a total.
        target: the arithmetic, in the operators of its device.
        graph: to be written instead of what it lowers to: with layers in int16.

    Raises:
        ConversionError: a module cannot be lowered, or the file is not what it should be.
        CalibrationError: a tensor has no range.
        DataError: an image does not decode.
    """
    began = time.monotonic()
    graph = graph or integer_graph(checkpoint, scales, softmax, target)
    bare = write_tflite(graph)
    tensors, operators = prove.audit(bare)

    macs = sum(operation.macs() for operation in graph.operations)
    judged, compared, at_every_tensor = extent.for_network(macs, len(proof.images))
    images = [proof.images[index] for index in evenly(len(proof.images), judged)]
    shown = _show_to_float_network(checkpoint, images, progress)
    chosen = np.array(evenly(judged, compared))
    whole = np.zeros(compared, bool)
    whole[evenly(compared, at_every_tensor)] = True
    with progress("comparing with the integer reference", 1) as advance:
        equality = prove.prove_equal(graph, bare, shown.views[chosen], whole)
        advance()
    _require_equal(equality)
    with progress("running the file", len(shown.views)) as advance:
        logits, kernels = prove.default_logits(bare, shown.views, advance)
    names, labels = checkpoint.run.classes, shown.labels
    accuracies = prove.judge(labels, shown.classes, logits.argmax(1), names)
    subset = prove.judge(labels[chosen], shown.classes[chosen], logits[chosen].argmax(1), names)

    golden = _golden_pairs(graph, names, checkpoint.run.network)
    metadata = _metadata(checkpoint, softmax, proof, accuracies, golden)
    model = embed(bare, metadata)
    prove.audit(model)
    report = {
        "reduced_proof": proof.reduced,
        "proof_images": proof.origin,
        "unusual_images": shown.unusual,
        "softmax": softmax,
        "tensors": tensors,
        "operators": operators,
        "bytes": len(model),
        "sha256": sha256(model),
        "all_integer": True,
        "builtin_operators_only": True,
        "equality": {
            "images": equality.images,
            "at_every_tensor": equality.at_every_tensor,
            "tensors": equality.tensors,
            "unequal": equality.unequal,
        },
        "default_kernels": asdict(
            prove.kernel_difference(equality.logits, logits[chosen], kernels)
        ),
        "accuracy": {**asdict(accuracies), "drop_points": accuracies.drop},
        "reference_accuracy": {
            "images": equality.images,
            "reference": float((equality.logits.argmax(1) == labels[chosen]).mean()),
            "float": subset.float_accuracy,
            "file": subset.file_accuracy,
        },
        "golden_pairs": len(golden),
        "seconds": round(time.monotonic() - began, 1),
    }
    return Conversion(
        model, report, accuracies, graph, metadata, shown.views, chosen[whole], logits
    )


def _require_equal(equality: prove.Equality) -> None:
    if not equality.unequal:
        return
    name, count = next(iter(equality.unequal.items()))
    raise ConversionError(
        "converted model",
        f"{len(equality.unequal)} of {equality.tensors} tensors differ from the integer "
        f"specification on the reference kernels, first {name} in {count} images",
        "report this as a bug",
    )


def _metadata(
    checkpoint: Checkpoint,
    softmax: Form,
    proof: ProofImages,
    accuracies: prove.Accuracies,
    golden: list[GoldenPair],
) -> ModelMetadata:
    run = checkpoint.run
    kind = "bundled crops (reduced proof)" if proof.reduced else "test split"
    return ModelMetadata(
        name=checkpoint.folder.resolve().name or "model",
        labels=run.classes,
        input_size=run.network.input_size,
        colour="RGB" if run.network.channels == 3 else "grey",
        preprocessing=recipe(run.network.channels),
        softmax=softmax,
        variant=run.network.variant,
        size_name=run.network.size,
        checkpoint_sha256=checkpoint.sha256,
        calibration_sha256=sha256((checkpoint.folder / CALIBRATION_FILE).read_bytes()),
        split_fingerprint=run.split_fingerprint,
        training_data=Path(run.data).name,
        unknown_cells=UNKNOWN_CELLS if set(run.classes) == _white_cells() else [],
        accuracy={
            f"float, {kind}": accuracies.float_accuracy,
            f"integer, {kind}": accuracies.file_accuracy,
        },
        golden=golden,
        created_by=f"qlvit-edge {version('qlvit-edge')}",
    )


@dataclass(frozen=True)
class _Shown:
    """What the float network was shown and what it said.

    Attributes:
        views: (N, h, w, channels) uint8.
        labels: (N,) int64.
        classes: (N,) int64, the network's answers.
        unusual: kinds of images that are not plain 8-bit RGB, with their numbers.
    """

    views: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    unusual: dict[str, int]


def _show_to_float_network(
    checkpoint: Checkpoint, images: Sequence[LabelledImage], progress: Progress
) -> _Shown:
    """Decode the images and classify them, small batches side by side on all cores."""
    network, device = checkpoint.run.network, torch.device("cpu")
    kinds: list[str] = []
    size = max(1, _FLOAT_BATCH_PIXELS // (network.input_size[0] * network.input_size[1]))
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    with progress("running the float network", len(images)) as advance:

        def classify(part: Sequence[LabelledImage]) -> tuple[NDArray[Any], NDArray[np.int64]]:
            views = [
                preprocess(decode_noting(entry.path, kinds), network.input_size, network.channels)
                for entry in part
            ]
            batch = np.stack(views)
            with torch.inference_mode():
                classes = checkpoint.network(to_input(batch, device)).argmax(1).numpy()
            for _ in part:
                advance()
            return batch, classes

        with _one_torch_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(classify, parts))
    return _Shown(
        views=np.concatenate([views for views, _ in results]),
        labels=np.array([entry.label for entry in images]),
        classes=np.concatenate([classes for _, classes in results]),
        unusual=dict(sorted(Counter(kinds).items())),
    )


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let each thread run its own batch: a batch shared among cores waits at every layer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _white_cells() -> set[str]:
    return set(scan(bundled.CROPS).classes)


def _golden_pairs(graph: Any, names: list[str], network: NetworkConfig) -> list[GoldenPair]:
    """Make golden pairs from the bundled crops, logits by the NumPy reference.

    For a model of other classes the label is the model's own answer: such a pair still
    tells whether a device computes the same bytes.
    """
    folder = scan(bundled.CROPS)
    pairs = []
    for label, name in enumerate(folder.classes):
        own = [image for image in folder.images if image.label == label]
        for image in own[:_GOLDEN_PER_CLASS]:
            view = load(image.path, network.input_size, network.channels)
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
