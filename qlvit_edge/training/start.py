"""Starting from another run: its weights, and what it has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.relabel import numbers_of
from qlvit_edge.data.training_images import TrainingImages, read_training_images, trained_on
from qlvit_edge.errors import DataError
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import Checkpoint, StartedFrom

_OF_CLASSES = ("head.linear.weight", "head.linear.bias")


def started_from(start: Checkpoint) -> StartedFrom:
    """Return what a run records of the run that it starts from."""
    return StartedFrom(name=start.folder.resolve().name, sha256=start.sha256)


def kept_rows(classes: Sequence[str], start: Checkpoint) -> dict[int, int]:
    """Return the outputs of classes that the run has: output here → output there.

    Names are compared without regard to capitals, spaces and marks.

    Args:
        classes: of the new network, in the order of its outputs.
        start: the run.
    """
    rows = numbers_of(classes, start.run.classes)
    return {row: earlier for row, earlier in enumerate(rows) if earlier is not None}


@torch.no_grad()
def take_over(network: QLViT, classes: Sequence[str], start: Checkpoint) -> None:
    """Give a network the weights of another run; both have one shape, but for their classes.

    Of the head, a class that the run has keeps its row; the row of a new one is as it was.

    Args:
        network: changed in place.
        classes: of the network, in the order of its outputs.
        start: the run.
    """
    own = network.state_dict()
    rows = kept_rows(classes, start)
    for name, tensor in start.network.state_dict().items():
        if name not in _OF_CLASSES:
            own[name].copy_(tensor)
            continue
        for row, earlier in rows.items():
            own[name][row] = tensor[earlier]


def with_what_it_saw(listed: TrainingImages, start: Checkpoint | None) -> TrainingImages:
    """Add to a list of training images those of the run that the training starts from.

    Raises:
        DataError: that run's list is damaged.
    """
    earlier = None if start is None else read_training_images(start.folder)
    return listed if earlier is None else listed.joined(earlier)


def unseen(
    test: Sequence[LabelledImage], start: Checkpoint, advance: Callable[[], None]
) -> list[LabelledImage] | None:
    """Return the images of a test side that the run started from was not trained on.

    Args:
        test: the test side.
        start: the run.
        advance: called once per image, for a progress bar.

    Returns:
        None where the run lists no training images.

    Raises:
        DataError: it was trained on all of them, or its list is damaged.
    """
    listed = read_training_images(start.folder)
    if listed is None:
        return None
    seen = trained_on(test, listed, advance)
    left = [image for image in test if image.relative not in seen]
    if test and not left:
        raise DataError(
            "--from",
            f"{start.folder.name} was trained on every image of the test side",
            "hold other images out, or use the split of that run",
        )
    return left
