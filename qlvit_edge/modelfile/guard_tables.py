"""Tables of integers and whitened spaces, as a guard's data hold them."""

from __future__ import annotations

import base64
import binascii
from math import prod
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST: Final = 1 << 20
"""Largest projected coordinate, either sign; beyond it they are cut off."""

MOST_COORDINATES: Final = 1024
"""With `LARGEST`, the most for which squared distances stay integers below 2**53."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Strict):
    """A table of integers.

    Attributes:
        dtype: of its values.
        shape: rows and columns.
        data: the values, row by row, little-endian, in base64.
    """

    dtype: Literal["int16", "int32"]
    shape: tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=1, le=4096)]]
    data: str

    @classmethod
    def of(cls, values: NDArray[Any]) -> Table:
        """Make a table of a two-dimensional array, int16 or int32."""
        rows, columns = values.shape
        plain = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
        data = base64.b64encode(plain.tobytes()).decode("ascii")
        return cls.model_validate(
            {"dtype": values.dtype.name, "shape": (rows, columns), "data": data}
        )

    @model_validator(mode="after")
    def _complete(self) -> Table:
        try:
            held = len(base64.b64decode(self.data, validate=True))
        except binascii.Error:
            raise ValueError("its values are damaged") from None
        if held != prod(self.shape) * np.dtype(self.dtype).itemsize:
            raise ValueError(f"{held} bytes are no {self.shape} {self.dtype}")
        return self

    def array(self) -> NDArray[np.int64]:
        """Return the values as int64 of `shape`."""
        held = np.frombuffer(base64.b64decode(self.data), np.dtype(self.dtype).newbyteorder("<"))
        return held.reshape(self.shape).astype(np.int64)


class Space(_Strict):
    """Whitened directions of a vector of integers, and where the clusters lie along them.

    Attributes:
        projection: int16 (k, n): rows onto whitened directions.
        shift: bits by which projected sums are shifted right (rounding down).
        means: int32 (clusters, k), in projected units.
    """

    projection: Table
    shift: int = Field(ge=0, le=40)
    means: Table

    @model_validator(mode="after")
    def _fits_together(self) -> Space:
        rows = self.projection.shape[0]
        if self.projection.dtype != "int16" or not 1 <= rows <= MOST_COORDINATES:
            raise ValueError(f"a projection of {rows} rows, {self.projection.dtype}")
        if self.means.shape[1] != rows or not len(self.means.array()):
            raise ValueError("the means are not of the projection's rows")
        if np.abs(self.means.array()).max() > LARGEST:
            raise ValueError("a mean lies too far out")
        return self
