"""What a converted file says about itself: words of the run, what was measured, and its guard."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.proof.accuracy import Accuracies
from qlvit_edge.converters.proof_images import Sample
from qlvit_edge.errors import ConversionError
from qlvit_edge.files import sha256
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.modelfile.ends import is_of
from qlvit_edge.modelfile.golden_pair import GoldenPair
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.modelfile.metadata import ModelMetadata, TriedForms
from qlvit_edge.preprocess import recipe
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, Checkpoint, RunConfig


def describe(
    checkpoint: Checkpoint,
    graph: Graph,
    softmax: Form,
    sample: Sample,
    accuracies: Accuracies,
    golden: list[GoldenPair],
    forms: TriedForms,
    guard: Guard | None,
    temperature: float | None,
    confusion: Confusion | None,
) -> ModelMetadata:
    """Return the metadata of a file.

    Args:
        checkpoint: the trained network.
        graph: that the file is written from.
        softmax: its form.
        sample: the images of the accuracies.
        accuracies: of the float network and of the file.
        golden: pairs of images and outputs.
        forms: that the arithmetic is one on all processors.
        guard: that the file judges its answers by; None for a file without one.
        temperature: by which the scale of its logits was divided; None without a guard.
        confusion: its mistakes on held-out cells; None where they are not known.
    """
    run = checkpoint.run
    calibration = sha256((checkpoint.folder / CALIBRATION_FILE).read_bytes())
    return ModelMetadata(
        name=checkpoint.folder.resolve().name or "model",
        labels=run.classes,
        features=graph.outputs[1].shape[-1],
        guard=guard,
        temperature=temperature,
        input_size=run.network.input_size,
        colour="RGB" if run.network.channels == 3 else "grey",
        preprocessing=recipe(run.network.channels),
        softmax=softmax,
        variant=run.network.variant,
        size_name=run.network.size,
        checkpoint_sha256=checkpoint.sha256,
        calibration_sha256=calibration,
        split_fingerprint=run.split_fingerprint,
        training_data=_training_data(run),
        unknown_cells=run.unknown_cells,
        stain=run.stain,
        camera=run.camera,
        objective=run.objective,
        accuracy={
            f"float, {sample.words}": accuracies.float_accuracy,
            f"integer, {sample.words}": accuracies.file_accuracy,
        }
        if accuracies.measured
        else {},
        confusion=confusion,
        golden=golden,
        tried_forms=forms,
        created_by=f"qlvit-edge {version('qlvit-edge')}",
    )


def _training_data(run: RunConfig) -> str:
    """Say what a run was trained on, and what it was fitted to."""
    data = Path(run.data).name
    return data if run.adapted_from is None else f"{data}; {run.adapted_from.words}"


def require_guard_of(graph: Graph, guard: Guard, path: Path) -> None:
    """Refuse a guard that was found on other logits or features than a graph gives.

    Args:
        graph: as lowered: its logits are not divided by the guard's temperature.
        guard: of a run.
        path: where it is from.

    Raises:
        ConversionError: their scales or their number differ.
    """
    logits, features = graph.outputs
    fits = features.shape[-1] == guard.features and is_of(
        features.scale, features.zero_point, guard.feature_scale, guard.feature_zero_point
    )
    if not (fits and is_of(logits.scale, 0, guard.logit_scale, 0)):
        raise ConversionError(
            path,
            "was found on logits or features of other scales than this file's",
            f"run `qlvit-edge calibrate {path.parent}` again",
        )
