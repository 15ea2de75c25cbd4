"""What a model file says about itself: labels, preprocessing, origin and golden pairs.

Everything the device needs travels inside the `.tflite`: as JSON in the metadata buffer
`QLVIT_EDGE`, read back through our own bounded reader, and the labels once more as the
associated file `labels.txt` (a zip archive behind the flatbuffer, TFLite's convention, so
`unzip model.tflite` and other TFLite tools find them).
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from qlvit_edge.choices import IntegerSoftmax
from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.ends import require_ends, require_guard
from qlvit_edge.modelfile.golden_pair import MOST_GOLDEN_PAIRS, GoldenPair
from qlvit_edge.modelfile.guard import Guard
from qlvit_edge.modelfile.reader import OWN_METADATA, read_document
from qlvit_edge.reading import UnreadableFileError, parse_json

LABELS_FILE = "labels.txt"
MAX_METADATA_BYTES = 16 * 1024 * 1024
IMAGING_FIELDS = ("stain", "camera", "objective")
"""What is said of the slides and the microscope, where somebody did."""
MOST_FEATURES = 65536
_NOT_IN_OLD_FILES = (*IMAGING_FIELDS, "features", "guard", "temperature", "confusion")

_Side = Annotated[int, Field(ge=1, le=4096)]
_Described = Annotated[str, Field(min_length=1, max_length=200)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TriedForms(_Strict):
    """That x86-64 and arm64 compute the same: XNNPACK rounds MUL and MEAN differently on them.

    Attributes:
        operations: how many operations of the file have two forms.
        tried: products and sums that were tried in both, all that there can be.
        moved: by tensor, the float32 steps by which its scale was moved so that none differs.
    """

    operations: int = Field(ge=0)
    tried: int = Field(ge=0)
    moved: dict[str, int] = Field(default_factory=dict)

    def __str__(self) -> str:
        scales = f"{len(self.moved) or 'no'} scale{'' if len(self.moved) < 2 else 's'} moved"
        return (
            f"{self.tried} products and sums of {self.operations} operations tried in the forms of "
            f"both, {scales}"
        )


class ModelMetadata(_Strict):
    """Everything a model file says about itself.

    Attributes:
        format_version: version of this structure. Files of format 3 give their features, what
            the head's linear layer reads, as a second output. Those of format 2 give logits only
            and have no guard. Those of format 1 besides lack the logits of XNNPACK's arithmetic
            in their golden pairs; nothing is claimed of them on XNNPACK. All are read and run.
        name: the model's name.
        labels: class names in the order of the logits.
        features: how many features the second output holds, int8; None before format 3 (the
            field is then left out of the file).
        guard: what the file judges its answers by; None (and left out) where it has no guard.
        temperature: by which the scale of the logits was divided, so that a softmax of them
            gives calibrated probabilities and nothing else divides; None (and left out) where
            that was not done: the guard then divides, or without one nobody does.
        input_size: height and width of the input in pixels.
        colour: what the input's channels are, ``"RGB"`` (three) or ``"grey"`` (one).
        preprocessing: name of the recipe from decoded image to input bytes.
        softmax: form of the integer softmax inside.
        variant: variant of the network (`v4`).
        size_name: size of the network (`nano`, `paper`).
        checkpoint_sha256: hash of the checkpoint it was converted from.
        calibration_sha256: hash of the calibration file.
        split_fingerprint: fingerprint of the split it was trained on, if one was.
        training_data: what it was trained on, in words.
        intended_use: what it is for, in words.
        unknown_cells: kinds of cells that it was never shown.
        stain: of the slides it was trained on, in words; None if it was not said (the field is
            then left out of the file), as the next two.
        camera: that took the images.
        objective: of the microscope.
        accuracy: measured figures by name, as fractions.
        confusion: the file's mistakes on held-out cells by source, which correct a count; None
            (and left out) where they were not counted.
        golden: golden pairs.
        tried_forms: that the arithmetic is one on all processors; None in files of format 1.
        created_by: the program that wrote the file, with its version.
    """

    format_version: Literal[1, 2, 3] = 3
    name: str
    labels: list[str] = Field(min_length=2, max_length=1000)
    features: Annotated[int, Field(ge=1, le=MOST_FEATURES)] | None = None
    guard: Guard | None = None
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    input_size: tuple[_Side, _Side]
    colour: Literal["RGB", "grey"] = "RGB"
    preprocessing: str
    softmax: IntegerSoftmax
    variant: str
    size_name: str
    checkpoint_sha256: str
    calibration_sha256: str
    split_fingerprint: str | None = None
    training_data: str
    intended_use: str = "research use only, not for diagnosis"
    unknown_cells: list[str] = Field(default_factory=list)
    stain: _Described | None = None
    camera: _Described | None = None
    objective: _Described | None = None
    accuracy: dict[str, _Finite] = Field(default_factory=dict)
    confusion: Confusion | None = None
    golden: list[GoldenPair] = Field(default_factory=list, max_length=MOST_GOLDEN_PAIRS)
    tried_forms: TriedForms | None = None
    created_by: str

    @model_serializer(mode="wrap")
    def _said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what nobody said, so that such files are as they were before it could be."""
        fields: dict[str, Any] = serialise(self)
        unsaid = [name for name in _NOT_IN_OLD_FILES if fields.get(name, "") is None]
        return {name: value for name, value in fields.items() if name not in unsaid}

    @property
    def channels(self) -> int:
        """Channels of the input: 3 for RGB, 1 for grey."""
        return 3 if self.colour == "RGB" else 1

    @model_validator(mode="after")
    def _labels_fit(self) -> ModelMetadata:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("two classes have the same label")
        if any(not label.strip() or "\n" in label for label in self.labels):
            raise ValueError("a label is empty or has more than one line")
        if (self.features is None) != (self.format_version < 3):
            raise ValueError("features are of format 3, which must have them")
        if self.guard is not None:
            self.guard.require_fit(self.features, len(self.labels))
            if self.temperature is not None and self.guard.temperature != 1:
                raise ValueError("logits would be divided by a temperature twice")
        if self.confusion is not None:
            self.confusion.require_fit(len(self.labels))
        for pair in self.golden:
            if pair.format_version != self.format_version:
                raise ValueError("a golden pair is of another format")
            answers = [pair.logits, pair.xnnpack_logits]
            if any(a is not None and len(a) != len(self.labels) for a in answers):
                raise ValueError("a golden pair has not one logit per label")
            kept = [pair.features, pair.xnnpack_features]
            if any(k is not None and len(k) != self.features for k in kept):
                raise ValueError("a golden pair has not one value per feature")
            if (pair.judgement is None) != (self.guard is None):
                raise ValueError("a guard and its golden pairs' judgements belong together")
            if pair.label not in self.labels:
                raise ValueError("a golden pair has a label that the model does not know")
        return self


def embed(model: bytes, metadata: ModelMetadata) -> bytes:
    """Return the model file `model` with `metadata` inside, replacing what was there.

    The same arguments give the same bytes. Buffers stay aligned to 16 bytes, as the schema
    demands and the generated Python accessors forget. Models whose weights lie behind the
    flatbuffer (above 2 GiB) are not handled.

    Raises:
        ModelFileError: `model` is no TFLite model.
    """
    from ai_edge_litert import schema_py_generated as generated

    read_document(model)
    tree: Any = generated.ModelT.InitFromObj(generated.Model.GetRootAs(model, 0))
    content = np.frombuffer(metadata.model_dump_json().encode("utf-8"), np.uint8)
    entries = list(tree.metadata or [])
    entry = next((item for item in entries if _name(item) == OWN_METADATA), None)
    if entry is None:
        entry = generated.MetadataT()
        entry.name, entry.buffer = OWN_METADATA.encode(), len(tree.buffers)
        tree.buffers.append(generated.BufferT())
        tree.metadata = [*entries, entry]
    tree.buffers[entry.buffer].data = content
    return _with_labels(pack(tree), metadata.labels)


def read_metadata(model: bytes, *, subject: object = "model") -> ModelMetadata | None:
    """Return the metadata inside a model file, or None when another tool wrote the file.

    Raises:
        ModelFileError: the file is damaged, or its metadata are damaged or contradict it.
    """
    return metadata_of(read_document(model, subject=subject), subject=subject)


def metadata_of(document: Document, *, subject: object = "model") -> ModelMetadata | None:
    """Return the metadata inside a document that was read before; see `read_metadata`."""
    content = document.metadata.get(OWN_METADATA)
    if content is None:
        return None
    remedy = "convert the model again"
    if len(content) > MAX_METADATA_BYTES:
        raise ModelFileError(subject, f"its metadata have {len(content)} bytes", remedy)
    try:
        parse_json(bytes(content))
        metadata = ModelMetadata.model_validate_json(bytes(content))
    except UnreadableFileError as error:
        raise ModelFileError(subject, f"its metadata {error}", remedy) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        finding = f"its metadata are damaged ({place[:80]}: {first['msg'][:120]})"
        raise ModelFileError(subject, finding, remedy) from None
    require_ends(
        document.subgraphs[0],
        image=(*metadata.input_size, metadata.channels),
        classes=len(metadata.labels),
        features=metadata.features,
        subject=subject,
    )
    if metadata.guard is not None:
        require_guard(metadata.guard, *document.outputs, subject=subject)
    return metadata


def _name(entry: Any) -> str:
    name: bytes | str = entry.name or b""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


@cache
def _aligned_builder_class() -> Any:
    """Return the class of builders that put byte vectors, all tensor values, at multiples of 16."""
    import flatbuffers

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: NDArray[Any]) -> Any:
            if x.dtype != np.uint8:
                return super().CreateNumpyVector(x)
            self.StartVector(1, x.size, 16)
            self.head -= x.size
            self.Bytes[self.head : self.head + x.size] = x.tobytes()
            return self.EndVector()

    return AlignedBuilder


def pack(tree: Any) -> bytes:
    """Return the file of an object tree of the schema, buffers aligned to 16 bytes."""
    builder = _aligned_builder_class()(1024)
    builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _with_labels(model: bytes, labels: list[str]) -> bytes:
    """Return `model` with an archive of `labels.txt` (one label a line) behind it.

    Offsets count from the start of the file, as TFLite's metadata writer has them.
    """
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        # A fixed time and system: the same labels give the same bytes.
        info = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        info.create_system = 3
        info.external_attr = 0o644 << 16
        archive.writestr(info, "\n".join(labels) + "\n")
    return stream.getvalue()
