"""Which of the measured images the model was trained on, by content, whatever they are called.

Where a list of the training images lies beside the model file or the split, images are told by
their pixels. Without one, the files of the split's training side are compared byte for byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.training_images import TrainingImages, digest, find_training_images
from qlvit_edge.files import sha256
from qlvit_edge.preprocess import read_file


class SeenImages:
    """Tells training images from others.

    Attributes:
        known: whether anything is known of the training images; else none is told.
    """

    def __init__(
        self, listed: TrainingImages | None, training_side: Sequence[LabelledImage] | None
    ) -> None:
        """Prepare.

        Args:
            listed: the training images by content; None where there is no list.
            training_side: files of the split's training side; None without a split.
        """
        self.known = listed is not None or training_side is not None
        self._listed = listed
        self._by_size: defaultdict[int, list[Path]] = defaultdict(list)
        self._hashes: dict[int, set[str]] = {}
        if listed is None:
            for image in training_side or ():
                self._by_size[image.path.stat().st_size].append(image.path)

    def has(self, image: LabelledImage, pixels: NDArray[np.uint8]) -> bool:
        """Tell whether an image is a training image.

        Args:
            image: the file.
            pixels: (H, W, 3) uint8 RGB, as `decode` gives them.

        Raises:
            DataError: a file of the training side cannot be read.
        """
        if self._listed is not None:
            return digest(pixels) in self._listed.known
        size = image.path.stat().st_size
        if size not in self._by_size:
            return False
        if size not in self._hashes:
            self._hashes[size] = {sha256(read_file(path)) for path in self._by_size[size]}
        return sha256(read_file(image.path)) in self._hashes[size]


def seen_images(
    split_fingerprint: str | None,
    files: Sequence[Path],
    training_side: Sequence[LabelledImage] | None,
) -> SeenImages:
    """Look for what a model was trained on.

    Args:
        split_fingerprint: of the split that it was trained with, as its file says.
        files: the model file and the split, beside which a list of training images may lie.
        training_side: files of the split's training side; None without a split.

    Raises:
        DataError: a list that lies there is damaged.
    """
    return SeenImages(find_training_images(split_fingerprint, files), training_side)
