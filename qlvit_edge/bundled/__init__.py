"""What the package brings along: trained models by name, fields of view and labelled crops.

A bundled name is accepted wherever a run folder or a model file is. A local run folder of the
same name is written with a path (`./blood-nano`); the bare name is then refused as ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qlvit_edge.errors import CheckpointError, ModelFileError
from qlvit_edge.text import did_you_mean

FOLDER = Path(__file__).parent
FIELDS = FOLDER / "fields"
CROPS = FOLDER / "crops"
CROPS_ORIGIN = "BCCD collection (MIT licence), crop of one white cell"


def names() -> tuple[str, ...]:
    """Return the names of the bundled models, sorted."""
    return tuple(sorted({path.parent.name for path in FOLDER.glob("*/run.json")} | _files()))


def is_bundled(name: str | Path) -> bool:
    """Tell whether `name` is the name of a bundled model."""
    return str(name) in names()


def resolve_model(name: str | Path) -> Path:
    """Return the `.tflite` file that a bundled name or a path means.

    Raises:
        ModelFileError: neither a bundled model nor a file.
    """
    if str(name) in _files():
        return FOLDER / str(name) / f"{name}.tflite"
    path = Path(name)
    if path.is_file():
        return path
    meant = ""
    if path.is_dir():
        finding = "a folder, not a model file"
    elif path.exists():
        finding = "not a regular file"
    else:
        finding, meant = "no such model file", did_you_mean(str(name), _files())
    remedy = f"name a .tflite file or a bundled model {_choice(_files())}{meant}"
    raise ModelFileError(name, finding, remedy)


def resolve_run(name: str | Path) -> Path:
    """Return the run folder (checkpoint, calibration) that a bundled name or a path means.

    Raises:
        CheckpointError: neither a bundled model nor a folder.
    """
    path = Path(name)
    if is_bundled(name):
        if path.is_dir():
            raise CheckpointError(
                name, "is a bundled model and a folder here", f"write ./{name} for the folder"
            )
        return FOLDER / str(name)
    if path.is_dir():
        return path
    finding = "a file, not a run folder" if path.exists() else "no such run folder"
    meant = "" if path.exists() else did_you_mean(str(name), names())
    remedy = f"name a run folder or a bundled model {_choice(names())}{meant}"
    raise CheckpointError(name, finding, remedy)


def _files() -> set[str]:
    """Names of the bundled models that are there as a model file too."""
    return {path.parent.name for path in FOLDER.glob("*/*.tflite")}


def _choice(names: Iterable[str]) -> str:
    return f"({', '.join(sorted(names)) or 'none is bundled'})"
