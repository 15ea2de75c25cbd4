"""What the names of images say about their source: patient, slide, donor, photograph.

Several images of one patient on both sides of a split make a network look better than it
is. Names are only a hint; whoever knows the source says so with a map or an expression.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.errors import DataError
from qlvit_edge.text import plain

_WORDS = "patient|subject|donor|case|slide|smear|sample|specimen|person|fall|pat|subj|pid|sub"
_HINTS = (
    # A word for the source, with its number.
    rf"(?i)((?:^|(?<=[^a-z]))(?:{_WORDS})[-_ .]?[a-z]{{0,2}}\d+)",
    # A short letter and a number, as in P012.
    r"(?i)((?:^|(?<=[^a-z0-9]))[psd]\d{1,5}(?=[^0-9]))",
    # Something with a number in it, and a second number: 2024-113_07.png, a12-3.jpg.
    r"^(.*\d.*?)[-_ .(]+[a-z]{0,6}\d{1,4}\)?\.\w+$",
)
_LEAST_SHARE = 0.5
"""Of the images this share must be in groups of two or more before anything is said."""


@dataclass(frozen=True)
class NameHint:
    """A way to read sources from names that fits a folder.

    Attributes:
        expression: for `groups_from_names`.
        groups: how many sources that gives.
        example: names of two images of one source.
    """

    expression: str
    groups: int
    example: tuple[str, str]


def groups_from_names(
    folder: ImageFolder, expression: str, said_by: str = "--groups-from-name"
) -> dict[str, str]:
    """Read each image's source from its file name.

    Args:
        folder: the images.
        expression: regular expression, searched for in the file name (without its class);
            what its groups match is the source.
        said_by: the option or the field that holds the expression, for errors.

    Returns:
        name (``"CLASS/file"``) → source, of the images that match.

    Raises:
        DataError: no regular expression, one without a group, or no name matches.
    """
    subject = f"{said_by} {plain(expression)!r}"
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(subject, f"no regular expression ({error})", "correct it") from error
    if not pattern.groups:
        raise DataError(
            subject,
            "it has no group",
            r"put what names the patient in brackets, as in '(patient\d+)'",
        )
    found = _read(folder, pattern)
    if not found:
        first = _file_name(folder.images[0])
        raise DataError(subject, f"it matches no name, such as {plain(first)!r}", "correct it")
    return found


def hint(folder: ImageFolder) -> NameHint | None:
    """Return how names suggest that several images come from one source; None if they do not."""
    for expression in _HINTS:
        found = _read(folder, re.compile(expression))
        sizes = Counter(found.values())
        shared = sum(size for size in sizes.values() if size > 1)
        if len(sizes) > 1 and shared >= _LEAST_SHARE * len(folder.images):
            source = next(source for source, size in sizes.items() if size > 1)
            first, second, *_ = (name for name, own in found.items() if own == source)
            return NameHint(expression, len(sizes), (first, second))
    return None


def _file_name(image: LabelledImage) -> str:
    """Return what the file is called, composed; a manifest names its folders too."""
    return image.relative.rpartition("/")[2]


def _read(folder: ImageFolder, pattern: re.Pattern[str]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for image in folder.images:
        match = pattern.search(_file_name(image))
        source = "|".join(part or "" for part in match.groups()) if match else ""
        if source.strip("|"):
            sources[image.relative] = source
    return sources
