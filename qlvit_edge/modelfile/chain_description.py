"""What `chain.json` says: segments in order, what crosses between them, and the model's own words.

Structure and bounds only; whether the parts fit each other and their files is for
`qlvit_edge.modelfile.chain` to check.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from qlvit_edge.modelfile.metadata import ModelMetadata

MAX_SEGMENTS = 1000

_File = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=500)]
_Names = Annotated[list[_Name], Field(min_length=1, max_length=1000)]
_Side = Annotated[int, Field(ge=1, le=2**24)]
_Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Border(_Strict):
    """A tensor that goes from one segment to another, in or out.

    Attributes:
        name: its name in all segments.
        shape: batch first.
        dtype: the schema's name of the type.
        scale: real value of one step.
        zero_point: the integer that stands for 0.
    """

    name: _Name
    shape: list[_Side] = Field(min_length=1, max_length=8)
    dtype: Literal["INT8", "UINT8"]
    scale: Annotated[float, Field(gt=0)]
    zero_point: Annotated[int, Field(ge=-128, le=255)]


class ChainSegment(_Strict):
    """One file of a chain.

    Attributes:
        file: name in the archive.
        sha256: hash of that file.
        device: where it is meant to run.
        inputs: names of the borders it reads; the file's inputs have the same names.
        outputs: names of the borders it makes; the file's outputs have the same names.
        operators: how many it holds.
        macs: its multiply-accumulates.
        parameter_bytes: weights and biases inside.
        compiled: name in the archive of the file compiled for the Edge TPU, if there is one.
        compiled_sha256: hash of that.
    """

    file: _File
    sha256: _Hash
    device: Literal["tpu", "cpu"]
    inputs: _Names
    outputs: _Names
    operators: _Count
    macs: _Count
    parameter_bytes: _Count
    compiled: _File | None = None
    compiled_sha256: _Hash | None = None


class ChainDescription(_Strict):
    """`chain.json`.

    Attributes:
        format: what this is.
        version: version of this structure.
        segments: in order of execution.
        borders: every tensor that crosses from one segment to another, the model's input
            and its output.
        input: name of the model's input.
        output: name of the model's logits.
        features: name of the tensor that they are made of, which is then an output too; None
            (and left out) in chains of models whose file gives none.
        round_trips: runs of the Edge TPU in one inference.
        border_bytes: bytes that cross between host and Edge TPU in one inference.
        tpu_macs_share: share of the multiply-accumulates in Edge TPU segments.
        witness: operators along one path, each forced to the other side than the one before:
            why fewer round trips are impossible.
        moved_to_cpu: operators the Edge TPU could run, left to the CPU to save round trips.
        model: what the model says about itself.
    """

    format: Literal["qlvit-edge chain"] = "qlvit-edge chain"
    version: Literal[1] = 1
    segments: list[ChainSegment] = Field(min_length=1, max_length=MAX_SEGMENTS)
    borders: list[Border] = Field(min_length=2, max_length=10 * MAX_SEGMENTS)
    input: _Name
    output: _Name
    features: _Name | None = None
    round_trips: _Count
    border_bytes: _Count
    tpu_macs_share: Annotated[float, Field(ge=0, le=1)]
    witness: list[_Name] = Field(default_factory=list, max_length=10 * MAX_SEGMENTS)
    moved_to_cpu: list[_Name] = Field(default_factory=list, max_length=100 * MAX_SEGMENTS)
    model: ModelMetadata

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, logits first."""
        return (self.output,) if self.features is None else (self.output, self.features)

    @model_serializer(mode="wrap")
    def _said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out features that a model does not give, so that its chain is as it was before."""
        fields: dict[str, Any] = serialise(self)
        if fields.get("features", "") is None:
            del fields["features"]
        return fields
