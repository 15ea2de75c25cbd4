"""Proof that a written file is what it claims to be.

Four claims: every tensor is an integer and every operator builtin; on the reference kernels
each tensor of the graph equals the NumPy reference, byte for byte; on the default kernels
the logits differ by a counted little; the classes agree with the float network's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.errors import AccuracyBudgetError, ConversionError
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.runtime.child import run_in_child
from qlvit_edge.runtime.interpreter import Interpreter, Kernels

Views = NDArray[np.uint8]
Logits = NDArray[np.int8]
_CHUNK_PIXELS = 20 * 96 * 96  # of the images whose tensors are all held at once
_PROCESSES = 2
_MOST_IMAGES = 50  # of one child, which has a time limit; slow machines take seconds an image
CLASS_FACTOR = 3.0


@dataclass(frozen=True)
class Equality:
    """NumPy reference against the reference kernels.

    Attributes:
        images: images compared.
        tensors: activations compared per image.
        unequal: tensor name → images in which any of its bytes differs; empty if proven.
        logits: (images, classes) int8, of the NumPy reference.
        at_every_tensor: images compared at every tensor; the others at the logits.
    """

    images: int
    tensors: int
    unequal: dict[str, int]
    logits: Logits
    at_every_tensor: int


@dataclass(frozen=True)
class KernelDifference:
    """Default kernels against the reference, over the logits.

    Attributes:
        kernels: what really ran.
        changed: share of logits that differ.
        largest: largest difference in steps of the output.
        agreement: share of images with the same class.
    """

    kernels: str
    changed: float
    largest: int
    agreement: float


@dataclass(frozen=True)
class Accuracies:
    """Accuracy of the float network and of the file, overall and per class.

    Attributes:
        images: images judged.
        float_accuracy: of the float network.
        file_accuracy: of the file on the default kernels.
        agreement: share of images with the same class in both.
        float_recall: per class, of the float network; None for a class without images.
        file_recall: per class, of the file.
    """

    images: int
    float_accuracy: float
    file_accuracy: float
    agreement: float
    float_recall: dict[str, float | None] = field(default_factory=dict)
    file_recall: dict[str, float | None] = field(default_factory=dict)

    @property
    def drop(self) -> float:
        """Accuracy lost, in percentage points."""
        return 100 * (self.float_accuracy - self.file_accuracy)


def audit(model: bytes) -> tuple[int, int]:
    """Check that a file holds integers and builtin operators only.

    Returns:
        Number of tensors and of operators.

    Raises:
        ConversionError: something else is in it.
    """
    document = read_document(model)
    result = audit_integer_only(document)
    if not result.passed:
        raise ConversionError("converted model", result.verdict, "report this as a bug")
    return len(document.tensors), len(document.operators)


def prove_equal(
    graph: Graph, model: bytes, views: Views, whole: NDArray[np.bool_] | None = None
) -> Equality:
    """Compare the graph on the reference kernels with the NumPy reference.

    The kernels run in child processes: they abort on models they do not expect.

    Args:
        graph: the integer graph.
        model: the file written from it.
        views: (N, h, w, channels) uint8 inputs.
        whole: (N,) which of them to compare at every tensor, the others at the logits only;
            None: all.

    Raises:
        ModelFileError: the kernels crashed.
    """
    if whole is None:
        whole = np.ones(len(views), bool)
    # Dealt out like cards: every child gets its share of either kind.
    order = np.argsort(~whole, kind="stable")
    hands = min(len(views), max(_PROCESSES, -(-len(views) // _MOST_IMAGES)))
    parts = [order[n::hands] for n in range(hands)]
    with ThreadPoolExecutor(_PROCESSES) as pool:
        results = list(
            pool.map(
                lambda part: run_in_child(
                    "converted model", compare, graph, model, views[part], whole[part]
                ),
                parts,
            )
        )
    unequal: dict[str, int] = {}
    for result in results:
        for name, count in result.unequal.items():
            unequal[name] = unequal.get(name, 0) + count
    logits = np.concatenate([result.logits for result in results])
    return Equality(
        images=len(views),
        tensors=max(result.tensors for result in results),
        unequal=unequal,
        logits=logits[np.argsort(np.concatenate(parts))],
        at_every_tensor=int(whole.sum()),
    )


def compare(graph: Graph, model: bytes, views: Views, whole: NDArray[np.bool_]) -> Equality:
    """Do the work of `prove_equal` in this process."""
    first = compare_tensors(graph, model, views[whole]) if whole.any() else None
    if first is not None and whole.all():
        return first
    second = compare_logits(graph, model, views[~whole])
    if first is None:
        return second
    logits = np.empty((len(views), second.logits.shape[1]), np.int8)
    logits[whole], logits[~whole] = first.logits, second.logits
    unequal = {
        name: first.unequal.get(name, 0) + second.unequal.get(name, 0)
        for name in {**first.unequal, **second.unequal}
    }
    return Equality(len(views), first.tensors, unequal, logits, first.images)


def compare_tensors(graph: Graph, model: bytes, views: Views) -> Equality:
    """Compare every tensor of the graph on images (N, h, w, channels), in this process."""
    interpreter = Interpreter(model, kernels=Kernels.REFERENCE, keep_all_tensors=True)
    unequal: dict[str, int] = {}
    logits: list[Logits] = []
    compared: set[str] = set()
    for chunk in _chunks(views):
        expected = run_reference(graph, {graph.inputs[0].name: chunk}, keep_all=True)
        logits.append(expected[graph.outputs[0].name])
        for index, view in enumerate(chunk):
            interpreter.invoke(view)
            kept = interpreter.tensors()
            for name, values in expected.items():
                if not np.array_equal(kept[name].reshape(values[index].shape), values[index]):
                    unequal[name] = unequal.get(name, 0) + 1
            compared.update(expected)
    return Equality(len(views), len(compared), unequal, np.concatenate(logits), len(views))


def compare_logits(graph: Graph, model: bytes, views: Views) -> Equality:
    """Compare the logits alone on images (N, h, w, channels), in this process."""
    interpreter = Interpreter(model, kernels=Kernels.REFERENCE)
    name = graph.outputs[0].name
    logits: list[Logits] = []
    unequal = 0
    for chunk in _chunks(views):
        expected = run_reference(graph, {graph.inputs[0].name: chunk})[name]
        logits.append(expected)
        for view, values in zip(chunk, expected, strict=True):
            unequal += not np.array_equal(interpreter.invoke(view)[0], values)
    found = {name: unequal} if unequal else {}
    return Equality(len(views), 1, found, np.concatenate(logits), 0)


def _chunks(views: Views) -> list[Views]:
    """Split images into parts small enough for all tensors of a part to be held at once."""
    size = max(1, _CHUNK_PIXELS // (views.shape[1] * views.shape[2]))
    return [views[start : start + size] for start in range(0, len(views), size)]


def default_logits(model: bytes, views: Views, advance: Callable[[], None]) -> tuple[Logits, str]:
    """Run the file on the default kernels; returns logits (N, classes) and what ran."""
    interpreter = Interpreter(model)
    rows = []
    for view in views:
        rows.append(interpreter.invoke(view)[0])
        advance()
    return np.stack(rows), interpreter.kernels_used


def kernel_difference(reference: Logits, default: Logits, kernels: str) -> KernelDifference:
    """Count how far the default kernels' logits are from the reference's, both (N, classes)."""
    difference = np.abs(default.astype(np.int64) - reference)
    return KernelDifference(
        kernels=kernels,
        changed=float((difference > 0).mean()),
        largest=int(difference.max()),
        agreement=float((default.argmax(1) == reference.argmax(1)).mean()),
    )


def judge(
    labels: NDArray[np.int64],
    float_classes: NDArray[np.int64],
    file_classes: NDArray[np.int64],
    names: Sequence[str],
) -> Accuracies:
    """Compare the classes (N,) that the float network and the file give."""

    def recall(classes: NDArray[np.int64]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for index, name in enumerate(names):
            own = labels == index
            found[name] = float((classes[own] == index).mean()) if own.any() else None
        return found

    return Accuracies(
        images=len(labels),
        float_accuracy=float((float_classes == labels).mean()),
        file_accuracy=float((file_classes == labels).mean()),
        agreement=float((float_classes == file_classes).mean()),
        float_recall=recall(float_classes),
        file_recall=recall(file_classes),
    )


def check_budget(accuracies: Accuracies, max_drop: float, target: object) -> None:
    """Refuse a file that loses more than ``max_drop`` points, or 3× that for one class.

    Raises:
        AccuracyBudgetError: naming what was lost and where.
    """
    remedy = "calibrate on more images, try --softmax exact, or allow more with --max-drop"
    slack = 1e-9
    if accuracies.drop > max_drop + slack:
        raise AccuracyBudgetError(
            target,
            f"not written: integers lose {accuracies.drop:.2f} points of accuracy "
            f"({accuracies.float_accuracy:.2%} → {accuracies.file_accuracy:.2%}), "
            f"{max_drop:g} are allowed",
            remedy,
        )
    for name, before in accuracies.float_recall.items():
        after = accuracies.file_recall[name]
        if before is None or after is None:
            continue
        lost = 100 * (before - after)
        if lost > CLASS_FACTOR * max_drop + slack:
            raise AccuracyBudgetError(
                target,
                f"not written: integers lose {lost:.2f} points on class {name} "
                f"({before:.2%} → {after:.2%}), {CLASS_FACTOR * max_drop:g} are allowed",
                remedy,
            )
