"""The conversion from a run folder to a proven model file."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.converters.confusion import held_out_confusion
from qlvit_edge.converters.description import describe, require_guard_of
from qlvit_edge.converters.golden_pairs import golden_pairs
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import Scales
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.proof import accuracy, audit, equality
from qlvit_edge.converters.proof_images import ProofImages
from qlvit_edge.converters.report import EqualityReport, OneArithmeticReport, ProofReport
from qlvit_edge.converters.rewrites.temperature import divide_logits
from qlvit_edge.converters.safe_products import require_safe_products
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.choose import evenly
from qlvit_edge.data.labelled import NO_CLASS, LabelledImage
from qlvit_edge.errors import ConversionError
from qlvit_edge.files import sha256
from qlvit_edge.inference.arithmetic import runtime_version
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.modelfile.guard import GUARD_FILE, Guard
from qlvit_edge.modelfile.metadata import ModelMetadata, TriedForms, embed
from qlvit_edge.preprocess import decode_noting, preprocess
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint
from qlvit_edge.training.varying import to_input

# Small enough for its maps to stay in a core's cache: half the time of a batch of 64.
_FLOAT_BATCH_PIXELS = 16 * 96 * 96

# A scale is moved by a few float32 steps where x86-64 and arm64 would round apart.
_SAME_SCALE = 1e-3


@dataclass(frozen=True)
class Extent:
    """How many test images the proof is made on, evenly chosen.

    None stands for a default that depends on the network: above `LARGE` multiply-accumulates
    the reference kernels take half a second an image, and the default is less than all.

    Attributes:
        compared: compared with the specification at every tensor, on the default kernels.
        on_reference: of these, on the reference kernels too; None: all, of a large network 8.
        judged: for accuracy; None: the whole test side, of a large network as many as are
            compared.
    """

    compared: int = 200
    on_reference: int | None = None
    judged: int | None = None

    LARGE = 500_000_000

    def for_network(self, macs: int, available: int) -> tuple[int, int, int]:
        """Return (judged, compared, on_reference) of a network and its test images."""
        large = macs > self.LARGE
        judged = self.judged or (self.compared if large else available)
        compared = min(self.compared, judged, available)
        on_reference = self.on_reference or (8 if large else compared)
        return min(judged, available), compared, min(on_reference, compared)


@dataclass(frozen=True)
class Conversion:
    """A converted and proven model.

    Attributes:
        model: the file's bytes, metadata inside.
        report: the proof of these bytes, as `--report` writes it.
        graph: the integer graph it was written from.
        metadata: what the file says about itself.
        views: (N, h, w, channels) uint8, the images of the proof.
        compared: which of them were compared on the reference kernels too, as indices.
        outputs: of the images, on the default kernels.
    """

    model: bytes
    report: ProofReport
    graph: Graph
    metadata: ModelMetadata
    views: NDArray[np.uint8]
    compared: NDArray[np.int64]
    outputs: equality.Outputs


def convert(
    checkpoint: Checkpoint,
    scales: Scales,
    softmax: Form,
    proof: ProofImages,
    extent: Extent,
    progress: Progress,
    target: type[Int8] = Int8,
    graph: Graph | None = None,
    guard: Guard | None = None,
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
        guard: that the file judges its answers by; None for a file without one. Its temperature
            goes into the scale of the logits.

    Raises:
        ConversionError: a module cannot be lowered, or the file is not what it should be.
        CalibrationError: a tensor has no range.
        DataError: an image does not decode.
    """
    began = time.monotonic()
    tried = one_arithmetic(graph or integer_graph(checkpoint, scales, softmax, target))
    graph, temperature = tried.graph, None
    if guard is not None:
        require_guard_of(graph, guard, checkpoint.folder / GUARD_FILE)
        temperature = guard.temperature
        graph = divide_logits(graph, temperature)
        guard = guard.of_divided_logits(graph.outputs[0].scale)
    require_safe_products(graph)
    bare = write_tflite(graph)
    audit.audit(bare)
    macs = sum(operation.macs() for operation in graph.operations)
    judged, compared, on_reference = extent.for_network(macs, len(proof.images))
    images = [proof.images[index] for index in evenly(len(proof.images), judged)]
    answers = _run_float_network(checkpoint, images, progress)
    sample = proof.sample(judged)
    expected = _judge(checkpoint, bare, answers, progress)
    golden = golden_pairs(checkpoint, graph, guard)
    mistakes = held_out_confusion(
        sample, answers.labels, proof.sources_of(images), expected.outputs, answers.views,
        graph.outputs[0].scale, guard,
    )  # fmt: skip
    forms = TriedForms(operations=tried.operations, tried=tried.tried, moved=tried.moved)
    metadata = describe(
        checkpoint, graph, softmax, sample, expected.accuracies, golden, forms, guard, temperature,
        mistakes,
    )  # fmt: skip
    model = embed(bare, metadata)
    # From here on everything that is reported is of the bytes that are written.
    tensors, operators = audit.audit(model)
    found = _judge(checkpoint, model, answers, progress)
    _require_same(expected, found)
    chosen = np.array(evenly(judged, compared))
    on_default = _prove(graph, model, answers.views[chosen], "xnnpack", progress)
    _require_outputs(tuple(part[chosen] for part in found.outputs), on_default.outputs)
    also = chosen[evenly(compared, on_reference)]
    here = runtime_version("litert")
    reference = (
        _prove(graph, model, answers.views[also], "reference", progress) if here.proved else None
    )
    report = ProofReport(
        reduced_proof=not sample.whole,
        proof_images=sample.words,
        sample=sample,
        unusual_images=answers.unusual,
        softmax=softmax,
        tensors=tensors,
        operators=operators,
        bytes=len(model),
        sha256=sha256(model),
        equality=EqualityReport.of(on_default),
        reference_equality=None if reference is None else EqualityReport.of(reference),
        runtime=str(here),
        one_arithmetic=OneArithmeticReport.of(tried),
        accuracy=found.accuracies,
        golden_pairs=len(golden),
        seconds=round(time.monotonic() - began, 1),
    )
    return Conversion(model, report, graph, metadata, answers.views, also, found.outputs)


@dataclass(frozen=True)
class _Judgement:
    """What a file answers.

    Attributes:
        outputs: of the images, on the default kernels.
        accuracies: of its classes.
    """

    outputs: equality.Outputs
    accuracies: accuracy.Accuracies


def _judge(
    checkpoint: Checkpoint, model: bytes, answers: _FloatAnswers, progress: Progress
) -> _Judgement:
    """Run a file on all judged images."""
    with progress("running the file", len(answers.views)) as advance:
        outputs, _ = equality.default_outputs(model, answers.views, advance)
    names, classes = checkpoint.run.classes, outputs[0].argmax(1)
    if (answers.labels == NO_CLASS).any():
        return _Judgement(outputs, accuracy.unmeasured(answers.classes, classes, names))
    return _Judgement(outputs, accuracy.judge(answers.labels, answers.classes, classes, names))


def _prove(
    graph: Graph,
    model: bytes,
    views: equality.Views,
    arithmetic: equality.Specification,
    progress: Progress,
) -> equality.Equality:
    """Compare at every tensor and refuse what differs."""
    with progress(f"comparing with {equality.TITLES[arithmetic]}", 1) as advance:
        found = equality.prove_equal(graph, model, views, arithmetic)
        advance()
    found.require()
    return found


def _require_same(bare: _Judgement, written: _Judgement) -> None:
    """Refuse a file that computes other outputs with its metadata than without.

    Raises:
        ConversionError: it does.
    """
    if not equality.equal_outputs(bare.outputs, written.outputs):
        raise ConversionError(
            "converted model", "metadata change its outputs", "report this as a bug"
        )


def _require_outputs(run: equality.Outputs, specified: equality.Outputs) -> None:
    """Refuse a file whose outputs, run as on a device, are not those that were proved.

    Raises:
        ConversionError: they differ.
    """
    if not equality.equal_outputs(run, specified):
        raise ConversionError(
            "converted model",
            "its outputs differ from the specification's where no inner tensor is kept",
            "report this as a bug",
        )


@dataclass(frozen=True)
class _FloatAnswers:
    """The images as the float network saw them, and what it said.

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


def _run_float_network(
    checkpoint: Checkpoint, images: Sequence[LabelledImage], progress: Progress
) -> _FloatAnswers:
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
    return _FloatAnswers(
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
