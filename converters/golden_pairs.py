"""Golden pairs: images that travel in a model file, with the logits that a device must compute.

A pair tests arithmetic, not accuracy, so any image will do that may be passed on. A run names
its own folder of them (`golden_images` in run.json, one folder per class); the default of all
other runs is the package's crops, whatever their classes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.converters.graph import Array, Graph
from qlvit_edge.converters.reference import Arithmetic, run_reference
from qlvit_edge.data.folder import scan
from qlvit_edge.data.relabel import numbers_of
from qlvit_edge.guard.judge import Judge
from qlvit_edge.modelfile.golden_pair import MOST_GOLDEN_PAIRS, GoldenPair
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import BUNDLED_CROPS, Checkpoint

PER_CLASS = 2
ARITHMETICS: tuple[Arithmetic, ...] = ("reference", "xnnpack")


def golden_images(checkpoint: Checkpoint) -> tuple[Path, str]:
    """Return the folder of a run's golden images, and where they are from, in words."""
    named = checkpoint.run.golden_images
    if named == BUNDLED_CROPS:
        return bundled.CROPS, bundled.CROPS_ORIGIN
    folder = checkpoint.folder / named
    return folder, f"golden images of the run, {folder.name}"


def golden_pairs(
    checkpoint: Checkpoint, graph: Graph, guard: Guard | None = None
) -> list[GoldenPair]:
    """Make the pairs of a graph, logits and features by NumPy in both arithmetics.

    Where the folder's class is none of the model's, the label is the model's own answer: such
    a pair still tells whether a device computes the same bytes.

    Args:
        checkpoint: the trained network, with its description.
        graph: of the network, in integers.
        guard: that judges its answers, if one does.

    Raises:
        DataError: the folder is not there, or an image does not decode.
    """
    root, origin = golden_images(checkpoint)
    folder, labels, network = scan(root), checkpoint.run.classes, checkpoint.run.network
    judge = None if guard is None else Judge(guard)
    pairs: list[GoldenPair] = []
    for number, known in enumerate(numbers_of(folder.classes, labels)):
        own = [image for image in folder.images if image.label == number]
        for image in own[:PER_CLASS]:
            view = load(image.path, network.input_size, network.channels)
            inputs = {graph.inputs[0].name: view[None]}
            outputs = [_outputs(graph, inputs, arithmetic) for arithmetic in ARITHMETICS]
            (logits, features), by_xnnpack = outputs
            judged, judged_by_xnnpack = (
                None if judge is None else judge.judge_input(given[0], given[1], view).integers
                for given in outputs
            )
            label = labels[int(logits.argmax()) if known is None else known]
            source = origin if known is not None else f"{origin}; label: the model's own answer"
            pairs.append(
                GoldenPair.of(
                    view, logits, by_xnnpack[0], label, source,
                    features=features, xnnpack_features=by_xnnpack[1],
                    judgement=judged, xnnpack_judgement=judged_by_xnnpack,
                )
            )  # fmt: skip
    return pairs[:MOST_GOLDEN_PAIRS]


def _outputs(
    graph: Graph, inputs: Mapping[str, Array], arithmetic: Arithmetic
) -> tuple[Array, Array]:
    """Run one image; returns logits and features."""
    values = run_reference(graph, inputs, arithmetic=arithmetic)
    logits, features = (values[tensor.name].reshape(-1) for tensor in graph.outputs)
    return logits, features
