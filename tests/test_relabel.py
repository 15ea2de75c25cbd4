"""The package's crops get the numbers that a network's own classes have."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.relabel import labelled_as, numbers_of

FOLDERS = ("basophil", "eosinophil", "immature granulocyte")


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [
        (("immature granulocyte", "eosinophil", "basophil"), (2, 1, 0)),
        (("EOSINOPHIL", "LYMPHOCYTE"), (None, 0, None)),
        (("Immature_Granulocyte",), (None, None, 0)),
        (("Eosinophil", "EOSINOPHIL"), (None, None, None)),  # which of the two is not guessed
        (("Eosinophil", "EOSINOPHIL", "eosinophil"), (None, 2, None)),
        ((), (None, None, None)),
    ],
)
def test_folders_find_their_class_whatever_its_place_and_capitals(
    classes: tuple[str, ...], numbers: tuple[int | None, ...]
) -> None:
    assert numbers_of(FOLDERS, classes) == numbers


def test_images_of_unknown_classes_are_left_out_and_others_keep_all_but_the_number() -> None:
    images = [
        LabelledImage(Path(f"{name}/1.png"), f"{name}/1.png", number, "lens", "slide")
        for number, name in enumerate(FOLDERS)
    ]
    folder = ImageFolder(Path(), FOLDERS, tuple(images))
    (only,) = labelled_as(folder, ["NEUTROPHIL", "EOSINOPHIL"])
    assert only == LabelledImage(images[1].path, images[1].relative, 1, "lens", "slide")
