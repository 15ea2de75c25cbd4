"""What a bundle says about the model in it; the signature is over these very bytes."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.arithmetic import ArithmeticName
from qlvit_edge.reading import UnreadableFileError, parse_json
from qlvit_edge.text import plain

MOST_MANIFEST_BYTES = 64 * 1024
MOST_MODEL_BYTES = 128 * 1024 * 1024

Target = Literal["x86_64", "aarch64", "armv7l", "edgetpu"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""Processors, as `uname -m` names them, and the Edge TPU beside any of them."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
VERSION = r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}"
_TIME = r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$"
_REMEDY = "sign the model again, with this version of the program"

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SelfTest(_Strict):
    """What the model answered on the bundled crops where the bundle was signed.

    Attributes:
        images: SHA-256 of the crops.
        labels: number of the answered class, by crop in the order of their paths.
        answers: SHA-256 of all logits and features, by arithmetic; only of those that are proved.
    """

    images: _Digest
    labels: list[Annotated[int, Field(ge=0, lt=1000)]] = Field(min_length=1, max_length=1000)
    answers: dict[ArithmeticName, _Digest]


class Manifest(_Strict):
    """A bundle's manifest.

    Attributes:
        format: version of this structure.
        name: of the model; versions are compared among those of one name.
        version: numbers with dots between, the newer the larger.
        targets: what it may be installed on.
        kind: whether the model is a `.tflite` file or a chain.
        bytes: size of the model.
        sha256: of the model.
        budget_ms: milliseconds that one inference may take on the device, of which one in ten may
            take longer; None: no budget.
        self_test: what it must answer.
        signed: when, UTC.
        program: by which program.
    """

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=rf"^{NAME}$")]
    version: Annotated[str, Field(pattern=rf"^{VERSION}$")]
    targets: list[Target] = Field(min_length=1, max_length=len(TARGETS))
    kind: Literal["tflite", "chain"]
    bytes: Annotated[int, Field(ge=1, le=MOST_MODEL_BYTES)]
    sha256: _Digest
    budget_ms: Annotated[float, Field(gt=0, le=600_000, allow_inf_nan=False)] | None = None
    self_test: SelfTest
    signed: Annotated[str, Field(pattern=_TIME)]
    program: Annotated[str, Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _targets_once(self) -> Manifest:
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("a target is named twice")
        return self

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


def parse_manifest(content: bytes, subject: object) -> Manifest:
    """Read a manifest whose signature was verified.

    Raises:
        ModelFileError: it is not what a manifest is.
    """
    try:
        parse_json(content)
        return Manifest.model_validate_json(content)
    except UnreadableFileError as error:
        raise ModelFileError(subject, f"its manifest {error}", _REMEDY) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        finding = f"its manifest is not of format 1 ({plain(place)[:80]}: {first['msg'][:120]})"
        raise ModelFileError(subject, finding, _REMEDY) from None


def is_version(text: str) -> bool:
    """Tell whether a text is a version."""
    return re.fullmatch(VERSION, text, re.ASCII) is not None


def version_key(version: str) -> tuple[int, int, int, int]:
    """Return what versions are compared by: 1.2 is 1.2.0.0.

    Args:
        version: such as `is_version` takes.
    """
    first, second, third, fourth = ([int(part) for part in version.split(".")] + [0, 0, 0])[:4]
    return first, second, third, fourth
