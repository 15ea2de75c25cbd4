"""Images of a folder, labelled as a network's classes are numbered.

The package's crops serve every network whose classes they show: `eosinophil/` is the class
`EOSINOPHIL` of one and the second of eight classes of another. Names are compared without
capitals, spaces and marks; images of classes that the network lacks are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.text import folded


def numbers_of(folders: Sequence[str], classes: Sequence[str]) -> tuple[int | None, ...]:
    """Return for every folder the number of the class that it stands for; None where none is."""
    exact = {name: number for number, name in enumerate(classes)}
    alike = {folded(name): number for name, number in exact.items()}
    if len(alike) < len(exact):  # two classes differ in their marks only: nothing is folded
        alike = {}
    return tuple(exact.get(name, alike.get(folded(name))) for name in folders)


def labelled_as(folder: ImageFolder, classes: Sequence[str]) -> tuple[LabelledImage, ...]:
    """Return the images of the folders that stand for one of `classes`, numbered as these are."""
    numbers = numbers_of(folder.classes, classes)
    return tuple(
        replace(image, label=number)
        for image in folder.images
        if (number := numbers[image.label]) is not None
    )
