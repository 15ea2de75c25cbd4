"""Which images represent the task: spread over the classes, never the test images."""

from __future__ import annotations

from collections.abc import Sequence

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.split import Split
from qlvit_edge.errors import CalibrationError
from qlvit_edge.files import sha256


def choose_images(folder: ImageFolder, splits: Sequence[Split], count: int) -> list[LabelledImage]:
    """Choose ``count`` images, evenly over the classes and over each class's names.

    An image is a test image if any of the splits has it on its test side, by name or by
    content. Images that no split knows are accepted: they come from elsewhere.

    Raises:
        CalibrationError: the folder holds test images only.
    """
    tested = {name for split in splits for name in split.test}
    known = {name for split in splits for name in (*split.train, *split.left_out)}
    by_name = [image for image in folder.images if image.relative in tested]
    contents = {sha256(image.path.read_bytes()) for image in by_name}
    allowed: dict[int, list[LabelledImage]] = {}
    for image in folder.images:
        if image.relative not in tested:
            allowed.setdefault(image.label, []).append(image)
    if not allowed:
        raise CalibrationError(
            folder.root,
            "holds test images of the split only",
            "calibrate on training images: accuracy measured on calibration images is worthless",
        )
    trained = {label: [i for i in group if i.relative in known] for label, group in allowed.items()}
    share = -(-count // len(allowed))
    chosen: list[LabelledImage] = []
    for label in sorted(allowed):
        group = trained[label] or allowed[label]
        wanted = min(share, len(group))
        spread = [group[index * len(group) // wanted] for index in range(wanted)]
        chosen += [image for image in spread if sha256(image.path.read_bytes()) not in contents]
    return chosen[:count] if len(chosen) > count else chosen
