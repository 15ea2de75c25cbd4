"""A manifest: images of several folders, brought to common classes, without copying one.

JSON that `qlvit-edge data merge` writes. It names each image's file, class, microscope, source,
size and SHA-256. That the files are there and have their sizes is checked whenever it is read;
their content where every file is read anyway (`qlvit_edge.data.checks`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from qlvit_edge.data.labelled import NO_CLASS, ImageFolder, LabelledImage
from qlvit_edge.errors import DataError
from qlvit_edge.files import write_text
from qlvit_edge.imagefolder import nfc
from qlvit_edge.reading import UnreadableFileError, parse_json, read_regular
from qlvit_edge.text import counted, plain

MAX_MANIFEST_BYTES = 1024 * 1024 * 1024
"""A million images take about 300 MB."""

_Kind = Literal["images of several folders, for qlvit-edge"]
_KIND: Final[_Kind] = "images of several folders, for qlvit-edge"
_VERSION = 1
_LAYOUT = "give a folder that holds one folder of images per class, or a manifest of `data merge`"
_REMERGE = "make it again with `qlvit-edge data merge`"


def require_name(text: str) -> str:
    """Return a name that may be part of a path and of a table, composed (NFC).

    Raises:
        ValueError: it may not.
    """
    if not text.strip() or text != text.strip() or not text.isprintable() or "/" in text:
        raise ValueError("is no name: printable, without a slash or blanks at its ends")
    if text in (".", ".."):
        raise ValueError("is no name but a folder")
    return nfc(text)


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(require_name)]
"""A class, a set of images or a microscope: printable, no slash, composed (NFC)."""


class ManifestImage(BaseModel):
    """One image.

    Attributes:
        name: ``"CLASS/set/folder/file"``.
        file: where it is, from the manifest's folder, or absolute.
        domain: its microscope.
        source: what it shares with other images: photograph, slide, patient; "" if not known.
        held: whether the source is for testing only.
        size: of the file, in bytes.
        sha256: of the file, hexadecimal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(max_length=2000), AfterValidator(nfc)]
    file: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    domain: Name
    source: str = Field(default="", max_length=400)
    held: bool = False
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def class_name(self) -> str:
        """The class, or the kind that is none."""
        return self.name.partition("/")[0]


class Manifest(BaseModel):
    """Images of several folders.

    Attributes:
        kind: what the file is.
        version: of this format.
        classes: in label order, which is that of their code points.
        unknown: kinds of cell that are none of the classes: to be measured on only.
        images: each named once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: _Kind = _KIND
    version: Literal[1] = 1
    classes: list[Name] = Field(min_length=1)
    unknown: list[Name] = []
    images: list[ManifestImage] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        names = [*self.classes, *self.unknown]
        if len(set(names)) < len(names):
            raise ValueError("a class is named twice")
        if self.classes != sorted(self.classes):
            raise ValueError("the classes are not in order")
        twice = [n for n, found in Counter(i.name for i in self.images).items() if found > 1]
        if twice:
            raise ValueError(f"{plain(twice[0])!r} is named twice")
        counts = Counter(image.class_name for image in self.images)
        for image in self.images:
            if image.class_name not in names or "/" not in image.name:
                raise ValueError(f"{plain(image.name)!r} is in none of the classes")
        for name in names:
            if not counts[name]:
                raise ValueError(f"class {plain(name)!r} has no images")
        return self


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, one image per line."""
    fields = manifest.model_dump_json(exclude={"images"}, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {image.model_dump_json()}" for image in manifest.images)
    write_text(path, f'{fields},\n "images": [\n{lines}\n ]\n}}\n')


def read_manifest(path: Path) -> Manifest:
    """Read and validate a manifest; the files it names are not looked at.

    Raises:
        DataError: missing, no manifest, of another version, or inconsistent.
    """
    try:
        content = read_regular(path, MAX_MANIFEST_BYTES)
        if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            raise DataError(path, "neither a folder nor a manifest", _LAYOUT)
        fields = parse_json(content)
        if not isinstance(fields, dict) or fields.get("kind") != _KIND:
            raise DataError(path, "neither a folder nor a manifest", _LAYOUT)
        version = fields.get("version", _VERSION)
        if isinstance(version, int) and version > _VERSION:
            finding = f"a manifest of version {version}, this qlvit-edge reads {_VERSION}"
            raise DataError(path, finding, f"install a newer qlvit-edge, or {_REMERGE}")
        return Manifest.model_validate(fields)
    except FileNotFoundError as error:
        raise DataError(path, "cannot be read (no such file)", "name a manifest") from error
    except UnreadableFileError as error:
        raise DataError(path, f"not a manifest: {error}", _REMERGE) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        finding = f"not a valid manifest ({f'{where}: ' if where else ''}{message})"
        raise DataError(path, finding, _REMERGE) from error


def paths_in_manifest(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of each image, whether or not it is there.

    Raises:
        DataError: as `read_manifest`.
    """
    for image in read_manifest(path).images:
        yield image.name, path.parent / image.file


def images_in_manifest(path: Path) -> ImageFolder:
    """Return the images that a manifest names, in the order of their names.

    Raises:
        DataError: it cannot be used, or a file is missing or has another size than it had.
    """
    manifest = read_manifest(path)
    labels = {name: label for label, name in enumerate(manifest.classes)}
    known: list[LabelledImage] = []
    unknown: list[LabelledImage] = []
    for entry in sorted(manifest.images, key=lambda image: _order(image.name)):
        label = labels.get(entry.class_name, NO_CLASS)
        image = LabelledImage(
            path.parent / entry.file,
            entry.name,
            label,
            entry.domain,
            entry.source,
            entry.sha256,
            entry.held,
        )
        (unknown if label == NO_CLASS else known).append(image)
    _require_files(path, manifest)
    return ImageFolder(path, tuple(manifest.classes), tuple(known), (), tuple(unknown))


def _order(name: str) -> tuple[str, str]:
    own, _, rest = name.partition("/")
    return own, rest


def _require_files(path: Path, manifest: Manifest) -> None:
    """Check that every file is there and has its size.

    Raises:
        DataError: some are not; the first is named.
    """
    missing: list[str] = []
    changed: list[str] = []
    for image in manifest.images:
        try:
            size = os.stat(path.parent / image.file).st_size
        except (OSError, ValueError):  # ValueError: a name with a null byte
            missing.append(image.file)
        else:
            if size != image.size:
                changed.append(image.file)
    if missing:
        raise DataError(
            path,
            f"{counted(len(missing), 'image')} of {len(manifest.images):,} that it names "
            f"cannot be found ({plain(missing[0])})",
            f"put them back, or {_REMERGE}",
        )
    if changed:
        raise DataError(
            path,
            f"{counted(len(changed), 'image')} that it names changed since ({plain(changed[0])})",
            f"put the old ones back, or {_REMERGE}",
        )
