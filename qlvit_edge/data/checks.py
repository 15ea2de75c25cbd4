"""What is wrong, or worth knowing, about a folder of labelled images.

Every file is decoded once and hashed twice: its bytes, and its pixels as 8-bit RGB
(so that a PNG copy of a BMP is found out).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.split import Split, require_fit
from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import notes_on, said_of, when_settled
from qlvit_edge.preprocess import decode_stored, read_file
from qlvit_edge.text import counted

_NAMED = 3  # images that an error names


class ClassSummary(BaseModel):
    """One class.

    Attributes:
        name: of its folder.
        images: files with an image's ending.
        smallest: (width, height) with the fewest pixels, None when nothing decodes.
        largest: (width, height) with the most pixels.
        sizes: how many different sizes there are.
        kinds: images that are not plain 8-bit RGB, by kind (``"grey"``, ``"alpha"``,
            ``"16 bit"``); all of these are usable.
        train: images on the training side of the split, None without a split.
        test: images on its test side.
    """

    name: str
    images: int
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    sizes: int
    kinds: dict[str, int]
    train: int | None = None
    test: int | None = None


class Copies(BaseModel):
    """Files with the same pixels.

    Attributes:
        names: sorted.
        same_bytes: whether the files are identical too.
        classes: the different classes they are in.
        straddles: whether they are on both sides of the split.
    """

    names: list[str]
    same_bytes: bool
    classes: list[str]
    straddles: bool


class CheckReport(BaseModel):
    """Everything found.

    Attributes:
        root: the folder.
        classes: in label order.
        damaged: name → what is wrong with a file that does not decode.
        changed: names of files that are not those the manifest was made of.
        copies: files with the same pixels, in groups.
        ignored: names that are no images (hidden ones are not listed).
        passed_over: what was passed over, by kind, with the remedy.
        unplaced: images the split names on no side, None without a split.
    """

    root: str
    classes: list[ClassSummary]
    damaged: dict[str, str]
    changed: list[str] = []
    copies: list[Copies]
    ignored: list[str]
    passed_over: list[str] = []
    unplaced: int | None = None

    @property
    def conflicts(self) -> list[Copies]:
        """The same pixels under two labels."""
        return [group for group in self.copies if len(group.classes) > 1]

    @property
    def straddling(self) -> list[Copies]:
        """The same pixels on both sides of the split."""
        return [group for group in self.copies if group.straddles]

    def require_usable(self) -> None:
        """Check that it is usable.

        Raises:
            DataError: it is not; the first findings are named.
        """
        findings: list[str] = []
        if self.damaged:
            named = _first(f"{name}: {finding}" for name, finding in self.damaged.items())
            findings.append(f"{counted(len(self.damaged), 'image')} cannot be read ({named})")
        if self.changed:
            many = counted(len(self.changed), "image")
            findings.append(f"{many} changed since the manifest ({_first(self.changed)})")
        if self.conflicts:
            named = _first(" = ".join(group.names) for group in self.conflicts)
            findings.append(f"{counted(len(self.conflicts), 'image')} in two classes ({named})")
        if findings:
            raise DataError(
                self.root,
                " and ".join(findings),
                "replace or remove them; `qlvit-edge data check` lists all",
            )

    @property
    def usable(self) -> bool:
        """Whether every file decodes, is the one it was, and no image has two labels."""
        return not self.damaged and not self.changed and not self.conflicts


def check_folder(
    folder: ImageFolder,
    split: Split | None = None,
    advance: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Decode and hash every image.

    Args:
        folder: what `scan` returned.
        split: also look for copies on both of its sides.
        advance: called after each image, for a progress bar.

    Raises:
        DataError: the split does not fit the folder.
    """
    side: dict[str, str] = {}
    if split is not None:
        require_fit(split, folder)
        side = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    damaged: dict[str, str] = {}
    sizes: defaultdict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    kinds: defaultdict[int, Counter[str]] = defaultdict(Counter)
    same_pixels: defaultdict[bytes, list[LabelledImage]] = defaultdict(list)
    changed: list[str] = []
    file_hashes: dict[str, bytes] = {}
    for image in folder.images:
        try:
            content, pixels, found = when_settled(image.path, _read)
        except DataError as error:
            damaged[image.relative] = said_of(error, image.path)
        else:
            own = hashlib.sha256(content)
            file_hashes[image.relative] = own.digest()
            if image.sha256 and image.sha256 != own.hexdigest():
                changed.append(image.relative)
            same_pixels[_pixel_hash(pixels)].append(image)
            sizes[image.label][pixels.shape[1], pixels.shape[0]] += 1
            kinds[image.label].update(found)
        advance()
    copies = [
        _copies(folder, group, file_hashes, side)
        for group in same_pixels.values()
        if len(group) > 1
    ]
    classes = [
        _summary(folder, label, sizes[label], kinds[label], side if split else None)
        for label in range(len(folder.classes))
    ]
    return CheckReport(
        root=str(folder.root),
        classes=classes,
        damaged=damaged,
        changed=changed,
        copies=copies,
        ignored=list(folder.ignored),
        passed_over=notes_on(folder.passed_over),
        unplaced=None if split is None else len(folder.images) - len(side),
    )


def _read(path: Path) -> tuple[bytes, Any, list[str]]:
    """Return an image's bytes, its pixels as 8-bit RGB, and what is unusual about it."""
    content = read_file(path)
    return content, *decode_stored(content, str(path))


def _first(findings: Iterable[str]) -> str:
    """Return the first few, and whether there are more."""
    listed = list(findings)
    return "; ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")


def _pixel_hash(pixels: Any) -> bytes:
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def _copies(
    folder: ImageFolder,
    group: list[LabelledImage],
    file_hashes: dict[str, bytes],
    side: dict[str, str],
) -> Copies:
    names = sorted(image.relative for image in group)
    return Copies(
        names=names,
        same_bytes=len({file_hashes[name] for name in names}) == 1,
        classes=[folder.classes[label] for label in sorted({image.label for image in group})],
        straddles=len({side[name] for name in names if name in side}) > 1,
    )


def _summary(
    folder: ImageFolder,
    label: int,
    sizes: Counter[tuple[int, int]],
    kinds: Counter[str],
    side: dict[str, str] | None,
) -> ClassSummary:
    names = [image.relative for image in folder.images if image.label == label]
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    placed = Counter(side[name] for name in names if name in side) if side is not None else None
    return ClassSummary(
        name=folder.classes[label],
        images=len(names),
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
        sizes=len(by_area),
        kinds=dict(sorted(kinds.items())),
        train=None if placed is None else placed["train"],
        test=None if placed is None else placed["test"],
    )
