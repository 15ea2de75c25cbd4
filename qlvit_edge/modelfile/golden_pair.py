"""A golden pair: an image that travels in a model file, with what every device must compute."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from qlvit_edge.errors import DataError, ModelFileError

# Golden pairs of the paper's 224 pixels are about 100 KiB each.
MOST_GOLDEN_PAIRS = 64

_Judged = Annotated[int, Field(ge=0, le=1 << 53)]
_Int8 = Annotated[int, Field(ge=-128, le=127)]


_LATER = ("features", "xnnpack_features", "judgement", "xnnpack_judgement")
"""Fields that older files do not have."""


class GoldenPair(BaseModel):
    """An input and the outputs that it must give, one for each arithmetic that is proved.

    Attributes:
        image_png: the network's input, (h, w, 3) uint8 RGB or (h, w, 1) grey, as PNG in
            base64.
        logits: the int8 logits of the reference kernels, one per class.
        xnnpack_logits: those of XNNPACK's arithmetic; None in files of format 1.
        features: the int8 features of the reference kernels; None before format 3 (the field is
            then left out of the file), as the next one.
        xnnpack_features: those of XNNPACK's arithmetic.
        judgement: what the guard makes of the outputs of the reference kernels, as
            `qlvit_edge.guard.judge.Judgement.integers` has it; None where the file has no guard
            (and left out of it), as the next one.
        xnnpack_judgement: of those of XNNPACK's arithmetic.
        label: the image's true class.
        source: where the image is from, with its licence (MIT images only).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_png: str
    logits: list[_Int8]
    xnnpack_logits: list[_Int8] | None = None
    features: list[_Int8] | None = None
    xnnpack_features: list[_Int8] | None = None
    judgement: list[_Judged] | None = None
    xnnpack_judgement: list[_Judged] | None = None
    label: str
    source: str

    @classmethod
    def of(
        cls,
        image: NDArray[np.uint8],
        logits: NDArray[np.int8],
        xnnpack_logits: NDArray[np.int8],
        label: str,
        source: str,
        *,
        features: NDArray[np.int8] | None = None,
        xnnpack_features: NDArray[np.int8] | None = None,
        judgement: list[int] | None = None,
        xnnpack_judgement: list[int] | None = None,
    ) -> GoldenPair:
        """Make a pair from an input, (h, w, 3) RGB or (h, w, 1) grey, and its int8 outputs.

        Args:
            image: uint8.
            logits: one per class, of the reference arithmetic.
            xnnpack_logits: the same of XNNPACK's.
            label: the image's true class.
            source: where the image is from.
            features: what the logits are made of, of the reference arithmetic; None of a model
                that does not give them, as the next one.
            xnnpack_features: the same of XNNPACK's.
            judgement: of a guard on the outputs of the reference arithmetic.
            xnnpack_judgement: the same of XNNPACK's.
        """
        import cv2

        # Channels from last to first: BGR is what OpenCV writes; grey stays grey.
        encoded, content = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
        if not encoded:
            raise ValueError("the image cannot be written as PNG")
        return cls(
            image_png=base64.b64encode(content.tobytes()).decode("ascii"),
            logits=_listed(logits),
            xnnpack_logits=_listed(xnnpack_logits),
            features=None if features is None else _listed(features),
            xnnpack_features=None if xnnpack_features is None else _listed(xnnpack_features),
            judgement=judgement,
            xnnpack_judgement=xnnpack_judgement,
            label=label,
            source=source,
        )

    @property
    def format_version(self) -> int:
        """The format of the files that hold such pairs."""
        if self.features is not None:
            return 3
        return 1 if self.xnnpack_logits is None else 2

    def recorded(self, *, xnnpack: bool) -> tuple[list[int], ...]:
        """Return the outputs that an arithmetic must give, as many as the model has.

        Args:
            xnnpack: XNNPACK's; otherwise that of the reference kernels.
        """
        logits, features = self.logits, self.features
        if xnnpack and self.xnnpack_logits is not None:
            logits, features = self.xnnpack_logits, self.xnnpack_features
        return (logits,) if features is None else (logits, features)

    def judged(self, *, xnnpack: bool) -> list[int] | None:
        """Return what a guard must make of an arithmetic's outputs; None without a guard.

        Args:
            xnnpack: of XNNPACK's; otherwise of those of the reference kernels.
        """
        return self.xnnpack_judgement if xnnpack else self.judgement

    def image(self, channels: int = 3) -> NDArray[np.uint8]:
        """Return the input of a model of so many channels, (h, w, channels) uint8.

        Raises:
            ModelFileError: the stored PNG is damaged.
        """
        from qlvit_edge.preprocess import decode, in_channels

        try:
            content = base64.b64decode(self.image_png, validate=True)
            return in_channels(decode(content, name="golden pair"), channels)
        except (binascii.Error, DataError) as error:
            raise ModelFileError(
                "golden pair", f"its image is damaged ({error})", "convert the model again"
            ) from None

    @model_validator(mode="after")
    def _of_one_format(self) -> GoldenPair:
        if (self.features is None) != (self.xnnpack_features is None):
            raise ValueError("features of one arithmetic only")
        if self.features is not None and self.xnnpack_logits is None:
            raise ValueError("features without the logits of XNNPACK's arithmetic")
        if (self.judgement is None) != (self.xnnpack_judgement is None):
            raise ValueError("a judgement of one arithmetic only")
        if self.judgement is not None and self.features is None:
            raise ValueError("a judgement without features")
        return self

    @model_serializer(mode="wrap")
    def _said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what there is not, so that such files are as they were before."""
        fields: dict[str, Any] = serialise(self)
        absent = [name for name in _LATER if fields.get(name, "") is None]
        return {name: value for name, value in fields.items() if name not in absent}


def _listed(values: NDArray[np.int8]) -> list[int]:
    return [int(value) for value in values.ravel()]
