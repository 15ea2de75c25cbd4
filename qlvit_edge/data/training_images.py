"""Which images a network was trained on, by content: what it has seen is no test.

A run folder lists the digests of its training side (`training_images.json`), so that an image is
known again under another name, in another folder and in another lossless format. A digest is of
the pixels as 8-bit RGB; a copy that was resized, cropped, turned or compressed again with loss is
another image to it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.errors import DataError
from qlvit_edge.files import write_text
from qlvit_edge.preprocess import decode
from qlvit_edge.reading import UnreadableFileError, read_json

TRAINING_IMAGES_FILE = "training_images.json"
DIGEST_BYTES = 8
"""Kept of a SHA-256: two of a million images agree by chance once in 37 million such sets."""


class TrainingImages(BaseModel):
    """The images of a training side, by content.

    Attributes:
        version: of this format.
        split_fingerprint: of the split they are the training side of.
        images: how many files were listed; copies have one digest.
        digests: in order, one after the other, `DIGEST_BYTES` each, in base64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    split_fingerprint: str
    images: int = Field(ge=1)
    digests: str

    @model_validator(mode="after")
    def _is_whole(self) -> TrainingImages:
        try:
            content = base64.b64decode(self.digests, validate=True)
        except binascii.Error as error:
            raise ValueError("the digests are not base64") from error
        if not content or len(content) % DIGEST_BYTES:
            raise ValueError("the digests are cut off")
        if len(content) > DIGEST_BYTES * self.images:
            raise ValueError("there are more digests than images")
        return self

    @cached_property
    def known(self) -> frozenset[bytes]:
        """The digests."""
        content = base64.b64decode(self.digests)
        steps = range(0, len(content), DIGEST_BYTES)
        return frozenset(content[start : start + DIGEST_BYTES] for start in steps)

    def joined(self, earlier: TrainingImages) -> TrainingImages:
        """Return these images and those of an earlier training that this one started from."""
        return self.model_copy(
            update={
                "images": self.images + earlier.images,
                "digests": _packed(self.known | earlier.known),
            }
        )


def _packed(found: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(set(found)))).decode("ascii")


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Return the digest of an image, (H, W, 3) uint8 RGB as `decode` gives it."""
    height, width, channels = pixels.shape
    content = f"{height} {width} {channels}\n".encode() + pixels.tobytes()
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def list_training_images(
    images: Sequence[LabelledImage], split_fingerprint: str, advance: Callable[[], None]
) -> TrainingImages:
    """List the images of a training side; decodes them on all cores.

    Args:
        images: the whole training side, with what it holds out for validation.
        split_fingerprint: of its split.
        advance: called once per image, for a progress bar.

    Raises:
        DataError: an image does not decode.
    """
    return TrainingImages(
        split_fingerprint=split_fingerprint,
        images=len(images),
        digests=_packed(digests((image.path for image in images), advance)),
    )


def write_training_images(folder: Path, listed: TrainingImages) -> None:
    """Write the list into a run folder."""
    write_text(folder / TRAINING_IMAGES_FILE, listed.model_dump_json(indent=1) + "\n")


def read_training_images(folder: Path) -> TrainingImages | None:
    """Return the list in a run folder; None where it has none, as runs of before.

    Raises:
        DataError: it is damaged or cannot be read.
    """
    path = folder / TRAINING_IMAGES_FILE
    try:
        return TrainingImages.model_validate(read_json(path))
    except FileNotFoundError:
        return None
    except UnreadableFileError as error:
        raise DataError(path, str(error), "restore it, or train again") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the text"
        finding = f"is no list of training images ({where}: {first['msg'][:120]})"
        raise DataError(path, finding, "restore it, or train again") from None


def find_training_images(
    split_fingerprint: str | None, files: Iterable[Path]
) -> TrainingImages | None:
    """Return the list of a model's training images from beside one of some files.

    Args:
        split_fingerprint: of the split that the model was trained with, as its file says.
        files: where to look beside: the model file, the split file.

    Raises:
        DataError: a list that lies there is damaged.
    """
    if split_fingerprint is None:
        return None
    for folder in dict.fromkeys(file.absolute().parent for file in files):
        listed = read_training_images(folder)
        if listed is not None and listed.split_fingerprint == split_fingerprint:
            return listed
    return None


def trained_on(
    images: Sequence[LabelledImage], listed: TrainingImages, advance: Callable[[], None]
) -> set[str]:
    """Return the names (``"CLASS/file"``) of the images that are training images, by content.

    Args:
        images: to be judged by.
        listed: what the network was trained on.
        advance: called once per image, for a progress bar.

    Raises:
        DataError: an image does not decode.
    """
    found = zip(images, digests((image.path for image in images), advance), strict=True)
    return {image.relative for image, own in found if own in listed.known}


def digests(files: Iterable[Path], advance: Callable[[], None]) -> list[bytes]:
    """Return the digests of image files, in order; decodes them on all cores.

    Args:
        files: the images.
        advance: called once per image, for a progress bar.

    Raises:
        DataError: an image does not decode.
    """

    def one(file: Path) -> bytes:
        found = digest(decode(file))
        advance()
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, files))
