"""Where a run's images lie, and the run it started from: hints in its files, since folders move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.training_images import TrainingImages, trained_on
from qlvit_edge.errors import DataError
from qlvit_edge.text import counted, plain
from qlvit_edge.training.checkpoint import RunConfig


def with_places_of(recorded: RunConfig, run: RunConfig) -> RunConfig:
    """Return a recorded run as it is recorded where another one stands.

    That is with its folder of images, which the split's fingerprint and `require_trained_images`
    hold to be the same, and with its name of the run started from, if the weights are those.
    """
    update: dict[str, object] = {"data": run.data}
    before, now = recorded.started_from, run.started_from
    if before is not None and now is not None and before.sha256 == now.sha256:
        update["started_from"] = now
    return recorded.model_copy(update=update)


def data_folder(run: RunConfig, named: Path | None) -> Path:
    """Return where a run's images are: as the user says, else where they were in training.

    Raises:
        DataError: nobody says, and they are not there any more.
    """
    recorded = Path(run.data)
    if named is None and not recorded.exists():
        raise DataError(
            recorded, "the data this run was trained on is not there", "name it with --data"
        )
    return named or recorded


def require_trained_images(
    side: Sequence[LabelledImage], listed: TrainingImages, folder: Path
) -> None:
    """Refuse to go on with a run on other images than it was trained on; compared by content.

    Args:
        side: the split's training side, as it lies now.
        listed: what the run was trained on.
        folder: where it lies now.

    Raises:
        DataError: an image is another one, or does not decode.
    """
    same = trained_on(side, listed, lambda: None)
    others = [image.relative for image in side if image.relative not in same]
    if others:
        raise DataError(
            folder,
            f"{counted(len(others), 'training image')} differ from those the run was trained on "
            f"(first {plain(others[0])})",
            "name the folder that it was trained on, or choose another --out",
        )
