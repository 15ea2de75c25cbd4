"""Which class of a model each class folder of a data set stands for.

Foreign data sets name their folders otherwise than the model its classes: `Neutrophils`,
`eosinophil`, `band cells`. A folder is matched by a class map, by its name, or by its name
without capitals, spaces, underscores and other marks; what is left over is unknown to the
model. Nothing is guessed beyond that.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.data.relabel import numbers_of
from qlvit_edge.errors import DataError
from qlvit_edge.reading import UnreadableFileError, parse_json, read_regular
from qlvit_edge.text import counted, folded

_MAP_BYTES = 1 << 20
_FORMS = 'write {"folder": "CLASS", "other": null} as JSON, or a CSV with columns folder,class'

ClassMap = Mapping[str, str | None]
"""Folder → class of the model; None: a class that the model does not know."""


@dataclass(frozen=True)
class ClassMatch:
    """Folders against the model's classes.

    Attributes:
        labels: the model's classes in the order of its outputs; the report's classes.
        of_folder: for every folder the index of its class; None where the model knows none.
        unknown: folders of classes that the model does not know.
        missing: classes of the model without a folder.
        notes: sentences on what was matched otherwise than by the very same name.
    """

    labels: tuple[str, ...]
    of_folder: tuple[int | None, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def match_classes(
    folders: Sequence[str],
    labels: Sequence[str] | None,
    outputs: int,
    *,
    class_map: ClassMap,
    allow_unknown: bool,
    subject: object,
) -> ClassMatch:
    """Find the class of every folder.

    Args:
        folders: names of the class folders.
        labels: the model's classes; None when its file does not say. Then the folders are
            its outputs in alphabetical order, or the class map names outputs by number.
        outputs: number of the model's outputs.
        class_map: what the user says about folders.
        allow_unknown: folders of no class are unknown classes instead of an error.
        subject: the data set, for messages.

    Raises:
        DataError: a folder stands for no class and that is not allowed, none does, or the map
            names a class that is not the model's.
    """
    if labels is None:
        if class_map:
            labels = [str(number) for number in range(outputs)]
        elif len(folders) != outputs:
            raise DataError(
                subject,
                f"has {counted(len(folders), 'class', 'classes')}, "
                f"the model {counted(outputs, 'output')}",
                "give the images that the model was made for, or number them with --map "
                "FOLDER=OUTPUT",
            )
        else:
            labels = folders
    mapped = _targets(folders, labels, class_map, subject)
    found: dict[str, str | None] = {}
    alike: list[str] = []
    for name, number in zip(folders, numbers_of(folders, labels), strict=True):
        found[name] = mapped.get(name, None if number is None else labels[number])
        if name not in mapped and number is not None and name != labels[number]:
            alike.append(f"{name} as {labels[number]}")
    numbers = {label: index for index, label in enumerate(labels)}
    unknown = tuple(name for name in folders if found[name] is None)
    missing = tuple(label for label in labels if label not in found.values())
    unsaid = [name for name in unknown if name not in mapped]
    if unsaid and not allow_unknown:
        raise _unknown(unsaid, missing, labels, subject)
    if len(unknown) == len(folders):
        raise DataError(
            subject,
            f"no folder stands for a class of the model ({', '.join(labels)})",
            "say which does with --map FOLDER=CLASS",
        )
    return ClassMatch(
        labels=tuple(labels),
        of_folder=tuple(None if target is None else numbers[target] for target in found.values()),
        unknown=unknown,
        missing=missing,
        notes=tuple(_notes(alike, mapped, class_map, folders)),
    )


def _targets(
    folders: Sequence[str], labels: Sequence[str], class_map: ClassMap, subject: object
) -> dict[str, str | None]:
    """Return what the map says about the folders that are there, in the model's own words."""
    by_name = {folded(label): label for label in labels} | {label: label for label in labels}
    asked = {folded(name): target for name, target in class_map.items()} | dict(class_map)
    targets: dict[str, str | None] = {}
    for name in folders:
        if name not in asked and folded(name) not in asked:
            continue
        target = asked[name] if name in asked else asked[folded(name)]
        known = None if target is None else by_name.get(target, by_name.get(folded(target)))
        if target is not None and known is None:
            raise DataError(
                subject,
                f"the class map says {name} is {target}, which the model does not know",
                f"choose among {', '.join(labels)}, or write nothing for an unknown class",
            )
        targets[name] = known
    return targets


def _unknown(
    unsaid: Sequence[str], missing: Sequence[str], labels: Sequence[str], subject: object
) -> DataError:
    parts = [f"the model does not know {', '.join(unsaid)}"]
    parts += [f"there is no folder {', '.join(missing)}"] if missing else []
    near = difflib.get_close_matches(folded(unsaid[0]), [folded(label) for label in labels], n=1)
    likely = next((label for label in labels if near and folded(label) == near[0]), "CLASS")
    return DataError(
        subject,
        " and ".join(parts),
        f"say which class it is with --map '{unsaid[0]}={likely}' "
        f"(classes: {', '.join(labels)}), or count how many the model accepts with "
        "--unknown-classes",
    )


def _notes(
    alike: Sequence[str],
    mapped: Mapping[str, str | None],
    class_map: ClassMap,
    folders: Sequence[str],
) -> Iterable[str]:
    if alike:
        yield f"Folders were matched whatever their capitals, spaces and marks: {'; '.join(alike)}."
    said = [f"{name} as {target or 'unknown'}" for name, target in mapped.items()]
    if said:
        yield f"By the class map: {'; '.join(said)}."
    there = {*folders, *map(folded, folders)}
    lost = [name for name in class_map if name not in there and folded(name) not in there]
    if lost:
        yield f"The class map names folders that are not there: {', '.join(lost)}."


def parse_pairs(pairs: Iterable[str]) -> dict[str, str | None]:
    """Read `FOLDER=CLASS` as written on a command line; nothing after `=`: unknown.

    Raises:
        DataError: a pair has no `=`, or a folder is named twice.
    """
    found: dict[str, str | None] = {}
    for pair in pairs:
        folder, sign, label = pair.rpartition("=")
        if not sign or not folder.strip():
            raise DataError("--map", f"{pair!r} is no pair", "write FOLDER=CLASS")
        if folder.strip() in found:
            raise DataError("--map", f"names {folder!r} twice", "name each folder once")
        found[folder.strip()] = label.strip() or None
    return found


def read_class_map(path: Path) -> dict[str, str | None]:
    """Read a class map: a JSON object, or a CSV with the columns folder and class.

    Raises:
        DataError: missing, too large, neither of the two, or a folder is named twice.
    """
    try:
        content = read_regular(path, _MAP_BYTES)
        pairs = _csv_pairs(content) if path.suffix.lower() == ".csv" else _json_pairs(content)
    except FileNotFoundError:
        raise DataError(path, "no such file", "name a class map") from None
    except UnreadableFileError as error:
        raise DataError(path, str(error), _FORMS) from error
    except (ValueError, csv.Error) as error:
        raise DataError(path, f"is no class map ({error})", _FORMS) from error
    found: dict[str, str | None] = {}
    for folder, label in pairs:
        if folder in found:
            raise DataError(path, f"names {folder!r} twice", "name each folder once")
        found[folder] = label
    return found


def _csv_pairs(content: bytes) -> list[tuple[str, str | None]]:
    text = content.decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if not {"folder", "class"} <= set(rows.fieldnames or ()):
        raise ValueError("line 1 lacks the columns folder,class")
    pairs = []
    for row in rows:
        if None in row or not (row["folder"] or "").strip():
            raise ValueError(f"line {rows.line_num} has no folder, or too many fields")
        pairs.append((row["folder"].strip(), (row["class"] or "").strip() or None))
    return pairs


def _json_pairs(content: bytes) -> list[tuple[str, str | None]]:
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    for label in value.values():
        if label is not None and not isinstance(label, str):
            raise ValueError("a class is neither text nor null")
    return [(folder, label or None) for folder, label in value.items()]
