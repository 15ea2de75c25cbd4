"""Which images train and which test, as a file that can be checked later.

Two ways to split: at random within each class (the paper's), and by source, where all
copies of one photograph stay on one side. Both depend on the names and the seed alone:
images are drawn in the order of a hash of the two, which no version of Python changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.sources import draw_key, draw_sources
from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import nfc
from qlvit_edge.reading import UnreadableFileError, read_json
from qlvit_edge.text import counted

MAX_SPLIT_BYTES = 256 * 1024 * 1024
"""A million images take about 150 MB."""

_REMAKE = "make the split again with `qlvit-edge data split`"


class Split(BaseModel):
    """A division of a folder's images.

    Attributes:
        version: of this format.
        seed: the draw.
        test_fraction: share of each class asked for on the test side.
        classes: in label order.
        train: names (``"CLASS/file"``), sorted.
        test: names, sorted.
        left_out: names on neither side, sorted (their source is not known for sure).
        grouped: whether the sides share no source.
        groups: name → source, of the images on either side; empty unless grouped.
        fingerprint: SHA-256 over the sorted names and their sides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    seed: int
    test_fraction: float = Field(gt=0, lt=1)
    classes: list[str] = Field(min_length=2)
    train: list[str] = Field(min_length=1)
    test: list[str] = Field(min_length=1)
    left_out: list[str] = []
    grouped: bool = False
    groups: dict[str, str] = {}
    fingerprint: str

    @model_validator(mode="before")
    @classmethod
    def _composed(cls, fields: Any) -> Any:
        """Write names in Unicode's composed form, which `scan` uses, whoever made the file."""
        if not isinstance(fields, dict):
            return fields
        sides = {key: fields.get(key, []) for key in ("train", "test", "left_out")}
        try:
            if fields["fingerprint"] == fingerprint(*sides.values()):
                fields = {
                    **fields,
                    **{key: sorted(map(nfc, names)) for key, names in sides.items()},
                    "classes": sorted(map(nfc, fields["classes"])),
                    "groups": {nfc(name): s for name, s in fields.get("groups", {}).items()},
                }
                composed = fingerprint(fields["train"], fields["test"], fields["left_out"])
                return {**fields, "fingerprint": composed}
        except (AttributeError, KeyError, TypeError):  # said better by the fields' own types
            pass
        return fields

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Split:
        names = self.train + self.test + self.left_out
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice")
        for name in names:
            if name.partition("/")[0] not in self.classes:
                raise ValueError(f"{name!r} is in none of the classes")
        if self.fingerprint != fingerprint(self.train, self.test, self.left_out):
            raise ValueError("the fingerprint does not fit the names")
        return self


def fingerprint(train: Iterable[str], test: Iterable[str], left_out: Iterable[str]) -> str:
    """Return the SHA-256 over all names and their sides, whatever their order."""
    sides = {"train": train, "test": test, "left out": left_out}
    lines = sorted(f"{name}\t{side}\n" for side, names in sides.items() for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_split(path: Path) -> Split:
    """Read and validate a split file.

    Raises:
        DataError: missing, not JSON, of another version, or inconsistent.
    """
    try:
        return Split.model_validate(read_json(path, MAX_SPLIT_BYTES))
    except FileNotFoundError as error:
        raise DataError(path, "cannot be read (no such file)", "name a split file") from error
    except UnreadableFileError as error:
        raise DataError(path, f"not a valid split: {error}", _REMAKE) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        finding = f"not a valid split ({f'{where}: ' if where else ''}{message})"
        raise DataError(path, finding, _REMAKE) from error


def select(folder: ImageFolder, names: Iterable[str]) -> list[LabelledImage]:
    """Return the images of the given names, in the order of the names.

    Raises:
        DataError: the folder has no such image.
    """
    images = {image.relative: image for image in folder.images}
    chosen: list[LabelledImage] = []
    for name in names:
        if name not in images:
            raise DataError(folder.root, f"the split names {name!r}, which is not there", _REMAKE)
        chosen.append(images[name])
    return chosen


def require_fit(split: Split, folder: ImageFolder) -> None:
    """Check that a split was made from a folder with these classes and images.

    Raises:
        DataError: the classes differ or an image is missing.
    """
    if split.classes != list(folder.classes):
        finding = f"has classes {', '.join(folder.classes)}, the split {', '.join(split.classes)}"
        raise DataError(folder.root, finding, _REMAKE)
    select(folder, [*split.train, *split.test])


def stratified_split(folder: ImageFolder, test: float, seed: int) -> Split:
    """Draw the share ``test`` of each class (of each microscope) at random: the paper's split.

    Copies of one photograph land on both sides; see `grouped_split`.

    Args:
        folder: the images.
        test: share of the test side, between 0 and 1; at least one image of each class
            stays on either side.
        seed: any integer; the same seed and names give the same split.
    """
    sides: dict[bool, list[str]] = {True: [], False: []}
    for names in _strata(folder):
        names.sort(key=lambda name: draw_key(seed, name))
        tested = min(max(round(test * len(names)), 1), len(names) - 1)
        sides[True] += names[:tested]
        sides[False] += names[tested:]
    return _make(folder, test, seed, sides[False], sides[True], {})


def _strata(folder: ImageFolder) -> list[list[str]]:
    """Return the names of each class, by microscope; single ones of a class are taken together."""
    counts = Counter((image.label, image.domain) for image in folder.images)
    strata: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for image in folder.images:
        single = counts[image.label, image.domain] == 1
        strata[image.label, "" if single else image.domain].append(image.relative)
    return list(strata.values())


def source_split(folder: ImageFolder, test: float, seed: int) -> Split:
    """Split by the sources that a manifest names, as `grouped_split` does.

    An image whose source nobody said is a source of its own.

    Raises:
        DataError: a class cannot be on both sides.
    """
    groups = {image.relative: image.source or image.relative for image in folder.images}
    return grouped_split(folder, test, seed, groups)


def grouped_split(folder: ImageFolder, test: float, seed: int, groups: Mapping[str, str]) -> Split:
    """Draw whole sources until about the share ``test`` of each class is on the test side.

    Sources that a manifest holds for testing are its test side, and nothing else is drawn of the
    classes (of that microscope) that they hold. The others are taken in
    random order; each goes to the test side if that brings the shares of the classes (of each
    microscope) closer to ``test`` (sum of squared differences).

    Args:
        folder: the images.
        test: share of each class's images wanted on the test side, between 0 and 1.
        seed: any integer.
        groups: name → source. Images without an entry are left out of both sides.

    Raises:
        DataError: no image has a source, or a class cannot be on both sides.
    """
    counts: defaultdict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    held: set[str] = set()
    for image in folder.images:
        if image.relative in groups:
            counts[groups[image.relative]][image.label, image.domain] += 1
            if image.held:
                held.add(groups[image.relative])
    if not counts:
        raise DataError(folder.root, "no image has a known source", "check the --groups file")
    _require_two_sources(folder, counts)
    chosen = draw_sources(counts, test, seed, held)
    _require_both_sides(folder, counts, chosen)
    sides: dict[bool, list[str]] = {True: [], False: []}
    used: dict[str, str] = {}
    for image in folder.images:
        if image.relative in groups:
            used[image.relative] = groups[image.relative]
            sides[used[image.relative] in chosen].append(image.relative)
    return _make(folder, test, seed, sides[False], sides[True], used)


def _require_two_sources(
    folder: ImageFolder, counts: Mapping[str, Counter[tuple[int, str]]]
) -> None:
    """Check that every class could be on both sides.

    Raises:
        DataError: one comes from a single source.
    """
    owners = Counter(label for own in counts.values() for label in {label for label, _ in own})
    for label, name in enumerate(folder.classes):
        if owners[label] < 2:
            raise DataError(
                folder.root if folder.root.is_file() else folder.root / name,
                f"class {name!r} comes from {counted(owners[label], 'known source')}",
                "a source-disjoint split needs two or more of each class",
            )


def _require_both_sides(
    folder: ImageFolder, counts: Mapping[str, Counter[tuple[int, str]]], chosen: set[str]
) -> None:
    """Check that every class is on both sides.

    Raises:
        DataError: one is not.
    """
    sides: dict[bool, set[int]] = {True: set(), False: set()}
    for source, own in counts.items():
        sides[source in chosen] |= {label for label, _ in own}
    for label, name in enumerate(folder.classes):
        if label not in sides[True]:
            raise DataError(
                folder.root,
                f"class {name!r} shares all its sources with other classes",
                "a source-disjoint split with every class on both sides was not found",
            )
        if label not in sides[False]:
            raise DataError(
                folder.root,
                f"every source of class {name!r} is held for testing",
                "shorten test-sources, and merge again",
            )


def _make(
    folder: ImageFolder,
    test_fraction: float,
    seed: int,
    train: list[str],
    test: list[str],
    groups: dict[str, str],
) -> Split:
    placed = {*train, *test}
    left_out = [image.relative for image in folder.images if image.relative not in placed]
    return Split(
        seed=seed,
        test_fraction=test_fraction,
        classes=list(folder.classes),
        train=sorted(train),
        test=sorted(test),
        left_out=sorted(left_out),
        grouped=bool(groups),
        groups=groups,
        fingerprint=fingerprint(train, test, left_out),
    )
