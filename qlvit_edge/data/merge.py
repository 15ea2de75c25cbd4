"""Folders of several microscopes, brought together into one manifest."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from qlvit_edge.data.folder import class_folders, images_of
from qlvit_edge.data.labelled import NO_CLASS, ImageFolder, LabelledImage
from qlvit_edge.data.manifest import Manifest, ManifestImage
from qlvit_edge.data.names import groups_from_names
from qlvit_edge.data.sets import FolderPlan, Sets
from qlvit_edge.data.source_map import SourceMap, read_source_map
from qlvit_edge.errors import DataError
from qlvit_edge.files import sha256
from qlvit_edge.imagefolder import PassedOver, nfc, notes_on
from qlvit_edge.preprocess import read_file
from qlvit_edge.text import counted, plain


@dataclass(frozen=True)
class Chosen:
    """An image that goes into the manifest.

    Attributes:
        image: where it is; `relative` is ``"class folder/file"`` and `domain`, `source` and
            `held` are set.
        name: ``"CLASS/set/folder/file"``.
    """

    image: LabelledImage
    name: str


def choose(sets: Sets, root: Path) -> tuple[list[Chosen], list[str]]:
    """Choose the images of all folders; only names are looked at.

    Args:
        sets: what the TOML file says.
        root: the folder its paths begin at.

    Returns:
        The images, and what was left out, one line per reason.

    Raises:
        DataError: a folder is missing, empty or named twice, a source is not there, a name is not
            UTF-8.
    """
    chosen: list[Chosen] = []
    notes: list[str] = []
    for plan in sets.folder:
        found, left_out = _images_of_folder(plan, root)
        notes += [f"{plain(plan.path)}: {note}" for note in left_out]
        for image in found:
            folder, _, file = image.relative.partition("/")
            own = plan.class_of.get(folder, folder)
            chosen.append(Chosen(image, f"{own}/{plan.label}/{folder}/{file}"))
    _require_different(sets, root)
    return chosen, notes


def merge(
    sets: Sets,
    chosen: Iterable[Chosen],
    out: Path,
    advance: Callable[[], None] = lambda: None,
) -> Manifest:
    """Read every chosen image and make the manifest that will be written to ``out``.

    Args:
        sets: what the TOML file says.
        chosen: the images.
        out: where the manifest will be; paths below its folder are written from there, others
            absolute.
        advance: called once per image, for a progress bar.

    Raises:
        DataError: an image cannot be read.
    """
    base = Path(os.path.abspath(out.parent))
    images: list[ManifestImage] = []
    kinds: set[str] = set()
    for entry in chosen:
        image = entry.image
        content = read_file(image.path)
        path = Path(os.path.abspath(image.path))
        images.append(
            ManifestImage(
                name=entry.name,
                file=str(path.relative_to(base) if path.is_relative_to(base) else path),
                domain=image.domain,
                source=image.source,
                held=image.held,
                size=len(content),
                sha256=sha256(content),
            )
        )
        if image.label == NO_CLASS:
            kinds.add(images[-1].class_name)
        advance()
    images.sort(key=lambda image: image.name.split("/"))
    return Manifest(classes=sets.classes, unknown=sorted(kinds), images=images)


def _require_different(sets: Sets, root: Path) -> None:
    """Check that no class folder goes in twice, by whatever path: its copies would be split.

    Raises:
        DataError: one does.
    """
    met: dict[str, str] = {}
    for plan in sets.folder:
        for name in (*plan.classes, *plan.unknown):
            folder = root / plan.path / name
            other = met.setdefault(os.path.realpath(folder), plan.label)
            if other != plan.label:
                raise DataError(
                    folder,
                    f"goes into both {plain(other)!r} and {plain(plan.label)!r}",
                    "name each class folder once",
                )


def _images_of_folder(plan: FolderPlan, root: Path) -> tuple[list[LabelledImage], list[str]]:
    """Return one folder's images, and what was left out."""
    path = root / plan.path
    if not path.is_dir():
        finding = "not a folder" if path.exists() else "no such folder"
        remedy = "correct `path`, or give the folder it begins at with --root"
        raise DataError(path, finding, remedy)
    passed_over: list[PassedOver] = []
    folders = {nfc(entry.name): entry for entry in class_folders(path, passed_over)}
    wanted = [*plan.class_of, *map(nfc, plan.unknown)]
    missing = [name for name in wanted if name not in folders]
    if missing:
        raise DataError(
            path,
            f"holds no folder {plain(missing[0])!r}",
            f"it holds {', '.join(plain(name) for name in folders) or 'none'}",
        )
    images: list[LabelledImage] = []
    for name in wanted:
        found = images_of(folders[name], NO_CLASS, passed_over)
        if not found:
            raise DataError(folders[name], "holds no images", "leave it out, or fill it")
        label = NO_CLASS if name not in plan.class_of else 0
        images += [replace(image, label=label, domain=plan.domain) for image in found]
    notes = notes_on(passed_over)
    unmapped = [plain(name) for name in folders if name not in wanted]
    if unmapped:
        notes.append(f"left out: {counted(len(unmapped), 'folder')} ({', '.join(unmapped)})")
    kept, left_out = _with_sources(images, plan, root)
    if plan.copies_per_source is not None:
        few = _at_most(kept, plan.copies_per_source)
        if len(few) < len(kept):
            left_out.append(
                f"left out: {counted(len(kept) - len(few), 'image')} of sources with more than "
                f"{plan.copies_per_source} of a class"
            )
        kept = few
    if not kept:
        raise DataError(path, "no image is left", "; ".join(left_out) or "check its sources")
    return kept, [*notes, *left_out]


def _with_sources(
    images: list[LabelledImage], plan: FolderPlan, root: Path
) -> tuple[list[LabelledImage], list[str]]:
    """Return the images whose source is known, with it, and what was left out.

    Where the plan has no way to know a source, all images stay, without one.
    """
    if plan.blocks is not None:
        own = "" if plan.label == plan.domain else f"{plan.label}/"  # two may be of one microscope
        known = SourceMap(_blocks(images, plan.blocks, own), frozenset())
    elif plan.groups is not None:
        known = read_source_map(root / plan.groups)
    elif plan.groups_from_name is not None:
        folder = ImageFolder(root / plan.path, (), tuple(images))
        known = SourceMap(
            groups_from_names(
                folder, plan.groups_from_name, f"{plain(plan.path)}: groups-from-name"
            ),
            frozenset(),
        )
    else:
        return images, []
    _require_sources(plan, root, known)
    first = {source: group[0] for group in plan.same_source for source in group}
    held = {first.get(source, source) for source in plan.test_sources}
    kept: list[LabelledImage] = []
    for image in images:
        if image.relative in known.sources:
            source = known.sources[image.relative]
            source = first.get(source, source)
            named = f"{plan.domain}/{source}"
            kept.append(replace(image, source=named, held=source in held))
    weak = sum(image.relative in known.weak for image in images)
    without = len(images) - len(kept) - weak
    notes: list[str] = []
    if weak:
        notes.append(f"left out: {counted(weak, 'image')} whose source is not sure")
    if without:
        why = "without a row in the CSV" if plan.groups else "whose name does not match"
        notes.append(f"left out: {counted(without, 'image')} {why}")
    return kept, notes


def _require_sources(plan: FolderPlan, root: Path, known: SourceMap) -> None:
    """Check that the sources the plan names are there.

    Raises:
        DataError: one is not.
    """
    there = set(known.sources.values())
    named = [source for group in plan.same_source for source in group]
    for source in (*plan.test_sources, *named):
        if source not in there:
            raise DataError(
                root / plan.path,
                f"no image has the source {plain(source)!r}",
                "correct test-sources or same-source",
            )


def _blocks(images: list[LabelledImage], size: int, own: str) -> dict[str, str]:
    """Take that many files in a row, in each class folder, as one source.

    Its name begins with ``own``.
    """
    sources: dict[str, str] = {}
    count: defaultdict[str, int] = defaultdict(int)
    for image in images:
        folder = image.relative.partition("/")[0]
        sources[image.relative] = f"{own}{folder}/{count[folder] // size}"
        count[folder] += 1
    return sources


def _at_most(images: list[LabelledImage], most: int) -> list[LabelledImage]:
    """Return at most so many images of each source and class folder, in their order.

    Drawn by the SHA-256 of their names, which no version of Python and no order of files changes.
    """
    drawn: defaultdict[tuple[str, str], list[LabelledImage]] = defaultdict(list)
    for image in images:
        drawn[image.source, image.relative.partition("/")[0]].append(image)
    kept = {
        image.relative
        for group in drawn.values()
        for image in sorted(group, key=lambda one: _draw_key(one.relative))[:most]
    }
    return [image for image in images if image.relative in kept]


def _draw_key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
