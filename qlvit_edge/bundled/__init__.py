"""Trained models by name: those that the package brings along, and those of the repository.

Also what else the package brings: fields of view and labelled crops.

A name is accepted wherever a run folder or a model file is. Models whose weights are too large
for the package lie in the folder `models` of the repository; a package that was installed from a
checkout finds it there, any other is told by ``QLVIT_EDGE_MODELS``. Where a file or folder in the
working directory is called like a model, neither wins: the bare name is refused, and `./NAME` is
the one that lies there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from qlvit_edge.errors import CheckpointError, ModelFileError, QLViTEdgeError
from qlvit_edge.text import did_you_mean

FOLDER = Path(__file__).parent
FIELDS = FOLDER / "fields"
CROPS = FOLDER / "crops"
CROPS_ORIGIN = "BCCD collection (MIT licence), crop of one white cell"

MODELS_VARIABLE = "QLVIT_EDGE_MODELS"
"""Environment variable that names the repository's folder `models`."""

ELSEWHERE = f"more lie in the folder `models` of the repository: name it in {MODELS_VARIABLE}"


def models_folder() -> Path | None:
    """Return the repository's folder `models`; None where it is not to be found.

    Raises:
        ModelFileError: ``QLVIT_EDGE_MODELS`` names what is no folder.
    """
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        folder = Path(named)
        if not folder.is_dir():
            remedy = "name the folder `models` of the repository, or unset it"
            raise ModelFileError(MODELS_VARIABLE, f"{named} is no folder", remedy)
        return folder
    checkout = _installed_from()
    return None if checkout is None or not (checkout / "models").is_dir() else checkout / "models"


def names() -> tuple[str, ...]:
    """Return the names of the models that the package itself brings along, sorted."""
    return tuple(sorted({*_runs((FOLDER,)), *_files((FOLDER,))}))


def all_names() -> tuple[str, ...]:
    """Return the names of all models that are here: the package's and the repository's."""
    return tuple(sorted({*_runs(_places()), *_files(_places())}))


def is_bundled(name: str | Path) -> bool:
    """Tell whether `name` is the name of a model that the package itself brings along."""
    folder = _folder(str(name))
    return folder is not None and folder.parent == FOLDER


def is_named(name: str | Path) -> bool:
    """Tell whether `name` is the name of a model that is here."""
    return _folder(str(name)) is not None


def folder_of(name: str) -> Path:
    """Return the folder of a model by its name alone, whatever lies in the working directory.

    Raises:
        CheckpointError: there is none of that name.
    """
    if (folder := _folder(name)) is None:
        remedy = f"choose one of {_choice(name, all_names())}"
        raise CheckpointError(name, "is the name of no model here", remedy)
    return folder


def resolve_model(name: str | Path) -> Path:
    """Return the `.tflite` file that a model's name or a path means.

    Raises:
        ModelFileError: neither a model's name nor a file, or both.
    """
    files = _files(_places())
    if str(name) in files:
        _require_one(name, ModelFileError)
        return files[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    if is_named(name):
        raise ModelFileError(name, "holds no model file", f"convert it: qlvit-edge convert {name}")
    finding = "no such model file"
    if path.exists():
        finding = "a folder, not a model file" if path.is_dir() else "not a regular file"
    remedy = f"name a .tflite file or a bundled model {_choice(name, files)}"
    raise ModelFileError(name, finding, remedy)


def resolve_run(name: str | Path) -> Path:
    """Return the run folder (checkpoint, calibration) that a model's name or a path means.

    Raises:
        CheckpointError: neither a model's name nor a folder, or both.
    """
    path = Path(name)
    if (folder := _folder(str(name))) is not None:
        _require_one(name, CheckpointError)
        return folder
    if path.is_dir():
        return path
    finding = "a file, not a run folder" if path.exists() else "no such run folder"
    remedy = f"name a run folder or a bundled model {_choice(name, all_names())}"
    raise CheckpointError(name, finding, remedy)


def _places() -> tuple[Path, ...]:
    """Where models lie; of two of one name the package's own counts."""
    repository = models_folder()
    return (FOLDER,) if repository is None else (FOLDER, repository)


def _runs(places: tuple[Path, ...]) -> dict[str, Path]:
    """Run folders by name."""
    found = [path.parent for place in places for path in sorted(place.glob("*/run.json"))]
    return {folder.name: folder for folder in reversed(found)}


def _files(places: tuple[Path, ...]) -> dict[str, Path]:
    """Model files by name; each is called like its folder."""
    found = [path for place in places for path in sorted(place.glob("*/*.tflite"))]
    return {path.stem: path for path in reversed(found) if path.stem == path.parent.name}


def _folder(name: str) -> Path | None:
    """The folder of a model of a name."""
    file = _files(_places()).get(name)
    return _runs(_places()).get(name) if file is None else file.parent


def _require_one(name: str | Path, kind: type[QLViTEdgeError]) -> None:
    """Refuse a model's name that is also that of something else in the working directory.

    Raises:
        QLViTEdgeError: of the given class.
    """
    here, folder = Path(name), _folder(str(name))
    if here.exists() and not (folder is not None and here.samefile(folder)):
        what = "folder" if here.is_dir() else "file"
        raise kind(
            name,
            f"is the name of a model and of a {what} here",
            f"write ./{name} for the {what}, or run this in another folder for the model",
        )


def _installed_from() -> Path | None:
    """The checkout that this package was installed from, as pip records it."""
    try:
        record = metadata.distribution("qlvit-edge").read_text("direct_url.json")
        address = urlsplit(str(json.loads(record or "{}").get("url", "")))
    except (metadata.PackageNotFoundError, ValueError, OSError):
        return None
    return Path(unquote(address.path)) if address.scheme == "file" else None


def _choice(name: str | Path, names: Iterable[str]) -> str:
    """The names there are, which one was probably meant, or where there may be others."""
    known = sorted(names)
    listed = f"({', '.join(known) or 'none is bundled'})"
    if Path(name).exists():
        return listed
    if meant := did_you_mean(str(name), known):
        return f"{listed}{meant}"
    can_be_elsewhere = Path(name).name == str(name) and "." not in str(name)
    return f"{listed}; {ELSEWHERE}" if can_be_elsewhere and models_folder() is None else listed
