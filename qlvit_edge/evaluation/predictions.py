"""What a model answered on one machine, image by image, so that another can be compared with it.

`validate` writes it as `predictions.json`. Images are known by the hash of their files, never by
their names alone; of each stand the hash of what the network was fed, the logits as they came out
of it, and a hash of the features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qlvit_edge.errors import DataError
from qlvit_edge.files import sha256
from qlvit_edge.reading import UnreadableFileError, read_json
from qlvit_edge.tomlfile import first_mistake

FILE = "predictions.json"
MOST_BYTES = 256 * 1024 * 1024

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Word = Annotated[str, Field(max_length=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Shown(_Strict):
    """What a model made of one image in one view.

    Attributes:
        input: hash of the network's input, (h, w, channels) uint8 in rows.
        logits: as the output tensor holds them, one per class.
        features: hash of the features as their tensor holds them; None of a file without.
        answer: the most probable class.
        verdict: on the answer.
    """

    input: Digest
    logits: Annotated[list[int] | list[float], Field(min_length=1)]
    features: Digest | None
    answer: _Word
    verdict: _Word

    @property
    def same_bytes(self) -> tuple[list[int] | list[float], str | None]:
        """What must be equal where the same arithmetic ran."""
        return self.logits, self.features


class PredictedImage(_Strict):
    """One image.

    Attributes:
        image: its name in its folder.
        file: hash of its bytes.
        views: what came of it, by view; None where no cell was found.
    """

    image: _Word
    file: Digest
    views: dict[str, Shown | None]


class Predictions(_Strict):
    """All answers of a machine.

    Attributes:
        format: of this file.
        model_sha256: of the model file.
        arithmetic: what ran, where the golden pairs must hold to the byte on it; None elsewhere.
        judged: the view that was judged.
        device: name of the machine.
        machine: what it is, in words.
        runtime: what executed the model, in words.
        date: ISO 8601 with the zone.
        images: in the order in which they were shown.
    """

    format: Literal[1] = 1
    model_sha256: Digest
    arithmetic: Literal["reference", "xnnpack"] | None
    judged: _Word
    device: _Word
    machine: _Word
    runtime: _Word
    date: _Word
    images: list[PredictedImage]

    @property
    def by_file(self) -> dict[str, PredictedImage]:
        """The images by the hash of their files; copies of a file are one."""
        return {one.file: one for one in self.images}

    @property
    def data_sha256(self) -> str:
        """What data set this is: a hash over names and contents, in whatever order."""
        return _digest(f"{one.file} {one.image}" for one in self.images)

    @property
    def outputs_sha256(self) -> dict[str, str]:
        """A hash by view over what must be the same bytes on every machine of its arithmetic."""
        views = list(dict.fromkeys(view for one in self.images for view in one.views))
        return {view: _digest(_line(one, view) for one in self.images) for view in views}


def _line(image: PredictedImage, view: str) -> str:
    shown = image.views.get(view)
    given = None if shown is None else [shown.input, shown.logits, shown.features]
    return json.dumps([image.file, given])


def _digest(lines: Iterator[str]) -> str:
    return sha256("\n".join(sorted(set(lines))).encode("utf-8"))


def as_text(predictions: Predictions) -> str:
    """Return the file: one line per image, so that two of them can be compared by eye."""
    head = predictions.model_dump(exclude={"images"})
    lines = [f"{json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    images = ",\n".join(json.dumps(one.model_dump()) for one in predictions.images)
    text = "{\n" + "\n".join(lines) + f'\n"images": [\n{images}\n]}}\n'
    return text


def read_predictions(path: Path) -> Predictions:
    """Read what `validate` has written.

    Raises:
        DataError: it is not such a file.
    """
    remedy = f"give the {FILE} that `qlvit-edge validate` writes"
    try:
        return Predictions.model_validate(read_json(path, MOST_BYTES))
    except FileNotFoundError:
        raise DataError(path, "no such file", remedy) from None
    except UnreadableFileError as error:
        raise DataError(path, str(error), remedy) from None
    except ValidationError as error:
        finding = first_mistake(error, lambda _: Predictions.model_fields)
        raise DataError(path, f"it holds no predictions ({finding})", remedy) from None


def require_comparable(
    recorded: Predictions, model_sha256: str, hashes: Mapping[str, str], path: Path
) -> None:
    """Refuse predictions of another model, or of other images only.

    Args:
        recorded: of another machine.
        model_sha256: of the model file here.
        hashes: name → hash of the file, of the images here.
        path: of the predictions.

    Raises:
        DataError: they are.
    """
    if recorded.model_sha256 != model_sha256:
        finding = f"is of another model file (SHA-256 {recorded.model_sha256[:12]}…, here "
        finding += f"{model_sha256[:12]}…)"
        raise DataError(path, finding, "take the same model file to both machines")
    if not recorded.by_file.keys() & set(hashes.values()):
        finding = f"holds none of the {len(hashes)} images that are shown here, by content"
        raise DataError(path, finding, "take the same images to both machines")
