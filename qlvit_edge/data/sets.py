"""Which folders make a data set of several microscopes: a TOML file that a person writes.

::

    [[folder]]
    path = "slides-2024"            # from the root
    domain = "clinic"               # the microscope
    groups-from-name = '(P\\d+)'    # or groups = "sources.csv", or blocks = 10
    copies-per-source = 8           # of each class; drawn by a hash of the names
    unknown = ["smudge"]            # folders of kinds that are none of the classes
    [folder.classes]
    NEU = "neutrophil"              # folder = class

What the fields mean is told in docs/sets.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.data.manifest import Name, require_name
from qlvit_edge.errors import DataError
from qlvit_edge.imagefolder import nfc
from qlvit_edge.text import plain
from qlvit_edge.tomlfile import first_mistake, hyphenated, read_toml

_REMEDY = "correct it; docs/sets.md explains the fields"

Relative = Annotated[str, Field(min_length=1, max_length=4096)]


class FolderPlan(BaseModel):
    """One folder of class folders.

    Attributes:
        path: from the root.
        domain: the microscope.
        name: of the folder in the names of images; the last part of ``path`` if not given.
        classes: class folder → class.
        unknown: class folders of kinds that are none of the classes.
        groups: CSV of sources (class,file,source,confident), from the root.
        groups_from_name: regular expression whose groups give the source.
        blocks: a source is that many files of a class folder, in the order of their names.
        copies_per_source: images kept of each source and class.
        same_source: sources that are one.
        test_sources: sources that may never be trained on.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=hyphenated, populate_by_name=True
    )

    path: Relative
    domain: Name
    name: Name | None = None
    classes: dict[str, Name] = Field(min_length=1)
    unknown: list[str] = []
    groups: Relative | None = None
    groups_from_name: str | None = None
    blocks: int | None = Field(default=None, ge=2)
    copies_per_source: int | None = Field(default=None, ge=1)
    same_source: list[Annotated[list[str], Field(min_length=2)]] = []
    test_sources: list[str] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> FolderPlan:
        try:
            require_name(self.label)
        except ValueError as error:
            raise ValueError(
                f"the last part of path {plain(self.path)!r} cannot name it: give it a name"
            ) from error
        ways = [self.groups, self.groups_from_name, self.blocks]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give one of groups, groups-from-name and blocks")
        if not any(way is not None for way in ways):
            for field in ("copies_per_source", "same_source", "test_sources"):
                if getattr(self, field):
                    raise ValueError(
                        f"{hyphenated(field)} needs groups, groups-from-name or blocks"
                    )
        joined = [source for group in self.same_source for source in group]
        if len(set(joined)) < len(joined):
            raise ValueError("same-source names a source twice")
        folders = [nfc(name) for name in (*self.classes, *self.unknown)]
        twice = [name for name, count in Counter(folders).items() if count > 1]
        if twice:
            raise ValueError(f"folder {plain(twice[0])!r} is named twice")
        return self

    @property
    def label(self) -> str:
        """What the folder is called in the names of its images."""
        return self.name or nfc(PurePosixPath(self.path).name)

    @property
    def class_of(self) -> dict[str, str]:
        """Composed name of a class folder → class."""
        return {nfc(folder): name for folder, name in self.classes.items()}


class Sets(BaseModel):
    """The whole file.

    Attributes:
        folder: at least one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: list[FolderPlan] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Sets:
        labels = [plan.label for plan in self.folder]
        twice = [label for label, count in Counter(labels).items() if count > 1]
        if twice:
            raise ValueError(f"two folders are called {plain(twice[0])!r}: give each a name")
        by_case: dict[str, str] = {}
        for name in self.classes:
            other = by_case.setdefault(name.casefold(), name)
            if other != name:
                raise ValueError(f"{plain(other)!r} and {plain(name)!r} differ in case only")
        for plan in self.folder:
            for folder in plan.unknown:
                if nfc(folder).casefold() in by_case:
                    raise ValueError(
                        f"unknown folder {plain(folder)!r} of {plain(plan.path)!r} has the name of "
                        "a class: list it under classes"
                    )
        return self

    @property
    def classes(self) -> list[str]:
        """In the order of their code points."""
        return sorted({name for plan in self.folder for name in plan.classes.values()})


def read_sets(path: Path) -> Sets:
    """Read and validate a TOML file of folders.

    Raises:
        DataError: missing, not TOML, a field that does not exist, or one that contradicts another.
    """
    fields = read_toml(path, DataError, _REMEDY)
    try:
        return Sets.model_validate(fields)
    except ValidationError as error:
        raise DataError(path, first_mistake(error, _fields_at), _REMEDY) from error


def _fields_at(place: tuple[str, ...]) -> list[str]:
    return list(FolderPlan.model_fields) if place else ["folder"]
