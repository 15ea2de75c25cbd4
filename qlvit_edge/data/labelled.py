"""Labelled images as a list, wherever they lie: what every reader of data gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.imagefolder import PassedOver

NO_CLASS = -1
"""Label of an image that stands for none of the classes, or of which nobody said what it shows."""


@dataclass(frozen=True)
class LabelledImage:
    """One image of a data set.

    Attributes:
        path: where the file is.
        relative: ``"CLASS/file"``, the name splits and reports use, composed (NFC); of a manifest
            ``"CLASS/set/folder/file"``.
        label: index into the folder's classes; `NO_CLASS` for a kind that is none of them.
        domain: the microscope (stain, camera, laboratory) it is from; "" where nobody said.
        source: the photograph, slide or patient it is from; "" where nobody said.
        sha256: of the file's bytes, as the manifest has it; "" where there is no manifest.
        held: whether its source was named as one for testing only.
    """

    path: Path
    relative: str
    label: int
    domain: str = ""
    source: str = ""
    sha256: str = ""
    held: bool = False


@dataclass(frozen=True)
class ImageFolder:
    """A data set on disk.

    Attributes:
        root: the folder or manifest that was read.
        classes: names, composed, in the order of their code points.
        images: in the order of class and file name.
        passed_over: what below ``root`` is no image of a class, and why; what systems leave
            behind (`.DS_Store`) is not listed.
        unknown: images of kinds that are none of the classes, which a manifest may name; the
            first part of `relative` is the kind. They are measured on and never trained on.
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    passed_over: tuple[PassedOver, ...] = ()
    unknown: tuple[LabelledImage, ...] = ()

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of what is passed over, without hidden files and folders."""
        return tuple(
            entry.name
            for entry in self.passed_over
            if not entry.name.split("/")[-1].startswith(".")
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """The microscopes named, in the order of their code points."""
        return tuple(sorted({image.domain for image in self.images if image.domain}))

    @property
    def sources(self) -> dict[str, str]:
        """Name → source, of the images whose source is known."""
        return {image.relative: image.source for image in self.images if image.source}
