"""Which images represent the task: spread over the classes, never the test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import ImageFolder, LabelledImage, files_of
from qlvit_edge.data.split import Split
from qlvit_edge.data.training_images import digests
from qlvit_edge.errors import CalibrationError


def files_elsewhere(data: Path | None, recorded: Path, split: Split) -> list[Path]:
    """Return the run's test images where another folder, `data`, is to be used."""
    if data is None:
        return []
    return files_of(recorded, split.test)


def choose_images(
    folder: ImageFolder, splits: Sequence[Split], count: int, test_files: Iterable[Path] = ()
) -> tuple[list[LabelledImage], int]:
    """Choose ``count`` images, evenly over the classes and over each class's names.

    Every class is there: of more classes than ``count`` one image each is taken.

    An image is refused if any of the splits has it on its test side, by name or by content
    (its pixels, whatever the file is called and in whatever lossless format it lies), or if a
    source-disjoint split leaves it out (its photograph may be a test photograph). Training
    images of the splits go first; images that no split knows come from elsewhere and are
    accepted.

    Args:
        folder: where the images are.
        splits: the run's split, and others to be respected.
        count: images wanted.
        test_files: test images elsewhere, compared by content.

    Returns:
        The images, and how many were refused.

    Raises:
        CalibrationError: the folder holds test images only.
        DataError: an image does not decode.
    """
    refused = {name for split in splits for name in split.test}
    refused |= {name for split in splits if split.grouped for name in split.left_out}
    trained = {name for split in splits for name in split.train}
    by_name = [image.path for image in folder.images if image.relative in refused]
    contents = set(digests((*by_name, *test_files), _unseen))
    left = [image for image in folder.images if image.relative not in refused]
    own = digests((image.path for image in left), _unseen) if contents else [b""] * len(left)
    allowed = [image for image, pixels in zip(left, own, strict=True) if pixels not in contents]
    if not allowed:
        raise CalibrationError(
            folder.root,
            "holds test images of the split only",
            "calibrate on training images: accuracy measured on calibration images is worthless",
        )
    trained_labels = {image.label for image in allowed if image.relative in trained}
    preferred = [
        image for image in allowed if image.relative in trained or image.label not in trained_labels
    ]
    return of_every_class(preferred, count), len(folder.images) - len(allowed)


def _unseen() -> None:
    """Comparing the images takes seconds: no bar."""
