"""Which images a conversion is proved on: the test side, or the few that the package brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.split import load_split, require_fit, select
from qlvit_edge.errors import DataError
from qlvit_edge.training.checkpoint import SPLIT_FILE, Checkpoint


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
