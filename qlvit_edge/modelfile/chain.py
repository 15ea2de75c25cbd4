"""A chain: one model in several files, some for the Edge TPU and some for the CPU between.

One archive holds everything: `chain.json` says in which order the segments run, which tensor
goes where and how each is quantised; beside it lie the segments as `.tflite` files and, where
the compiler was there, those for the Edge TPU once more compiled. The archive is stored, not
compressed, so `unzip` opens it and a small file cannot unfold into a large one. Everything is
checked before native code sees a byte.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from qlvit_edge.errors import ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain_description import (
    MAX_SEGMENTS,
    Border,
    ChainDescription,
    ChainSegment,
)
from qlvit_edge.modelfile.document import Document, Tensor
from qlvit_edge.modelfile.ends import (
    require_features,
    require_guard,
    require_head,
    require_shapes,
)
from qlvit_edge.modelfile.metadata import ModelMetadata, metadata_of, read_metadata
from qlvit_edge.modelfile.operators import EDGETPU_OPERATOR, require_allowed
from qlvit_edge.modelfile.reader import MAX_FILE_BYTES, read_document
from qlvit_edge.reading import UnreadableFileError, parse_json
from qlvit_edge.text import counted

DESCRIPTION = "chain.json"
MAX_DESCRIPTION_BYTES = 32 * 1024 * 1024
_ARCHIVE = b"PK\3\4"
_REMEDY = "give a complete chain, or convert the model again"

_Key = tuple[str, tuple[int, ...], str, float, int]


@dataclass(frozen=True)
class Chain:
    """A chain that was read and checked.

    Attributes:
        description: what `chain.json` says.
        files: content by name in the archive, without `chain.json`.
        documents: one per segment, of the file that is not compiled.
    """

    description: ChainDescription
    files: Mapping[str, bytes]
    documents: tuple[Document, ...]

    def border(self, name: str) -> Border:
        """Return the border of a name that the description was checked to hold."""
        return next(border for border in self.description.borders if border.name == name)


def is_chain(content: bytes) -> bool:
    """Tell whether a model file is a chain's archive rather than a `.tflite` file."""
    return content[:4] == _ARCHIVE


@dataclass(frozen=True)
class OpenedModel:
    """What a `.tflite` file and a chain have in common.

    Attributes:
        document: the file, or all segments of a chain as graphs of one document.
        inputs: the model's inputs.
        outputs: the model's outputs.
        ends_in_softmax: whether the output went through a softmax.
        metadata: what the model says about itself; None when another tool wrote it.
    """

    document: Document
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ends_in_softmax: bool
    metadata: ModelMetadata | None


def read_model(content: bytes, *, subject: object = "model") -> OpenedModel:
    """Read a `.tflite` file or a chain, whichever the bytes are.

    Raises:
        ModelFileError: the file is damaged.
    """
    if not is_chain(content):
        document = read_document(content, subject=subject)
        return OpenedModel(
            document,
            document.inputs,
            document.outputs,
            document.ends_in_softmax,
            metadata_of(document, subject=subject),
        )
    chain = read_chain(content, subject=subject)
    description = chain.description
    graphs = tuple(graph for document in chain.documents for graph in document.subgraphs)
    return OpenedModel(
        Document(len(content), chain.documents[0].version, "chain", graphs, {}),
        tuple(_tensors(chain.documents, [description.input])),
        tuple(_tensors(chain.documents, description.outputs)),
        chain.documents[-1].ends_in_softmax,
        description.model,
    )


def metadata_in(content: bytes, *, subject: object = "model") -> ModelMetadata | None:
    """Return what a `.tflite` file or a chain says about itself.

    Raises:
        ModelFileError: the file is damaged.
    """
    if is_chain(content):
        return read_chain(content, subject=subject).description.model
    return read_metadata(content, subject=subject)


def write_chain(description: ChainDescription, files: Mapping[str, bytes]) -> bytes:
    """Return a chain's archive; the same arguments give the same bytes."""
    stream = io.BytesIO()
    text = description.model_dump_json(indent=1).encode("utf-8")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {DESCRIPTION: text, **dict(sorted(files.items()))}.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return stream.getvalue()


def read_chain(content: bytes, *, subject: object = "chain") -> Chain:
    """Read a chain and check it from end to end.

    Raises:
        ModelFileError: truncated, hostile, or its parts contradict each other. No other
            exception leaves this function, whatever the bytes are.
    """
    files = _unpack(content, subject)
    description = _describe(files.pop(DESCRIPTION, None), subject)
    _require_files(description, files, subject)
    _require_order(description, subject)
    documents = tuple(
        _document(description, segment, files, subject) for segment in description.segments
    )
    _require_head(description, documents, subject)
    return Chain(description, files, documents)


def _unpack(content: bytes, subject: object) -> dict[str, bytes]:
    if len(content) > MAX_FILE_BYTES:
        raise ModelFileError(subject, f"{counted(len(content), 'byte')}, too large", _REMEDY)
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > 2 * MAX_SEGMENTS + 1:
                raise ModelFileError(subject, f"{counted(len(entries), 'file')} inside", _REMEDY)
            left = len(content)
            for entry in entries:
                left -= entry.file_size
                if entry.compress_type != zipfile.ZIP_STORED or left < 0:
                    raise ModelFileError(subject, "its archive is compressed", _REMEDY)
                if entry.filename in files:
                    finding = f"holds {entry.filename[:60]!r} twice"
                    raise ModelFileError(subject, finding, _REMEDY)
                files[entry.filename] = archive.read(entry)
    except ModelFileError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds on damaged archives
        reason = str(error)[:100] or type(error).__name__
        raise ModelFileError(subject, f"its archive is damaged ({reason})", _REMEDY) from None
    return files


def _describe(content: bytes | None, subject: object) -> ChainDescription:
    if content is None:
        raise ModelFileError(
            subject, f"an archive without {DESCRIPTION}", "give a chain made by `convert`"
        )
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise ModelFileError(subject, f"{DESCRIPTION} has {len(content)} bytes", _REMEDY)
    try:
        parse_json(content)
        return ChainDescription.model_validate_json(content)
    except UnreadableFileError as error:
        raise ModelFileError(subject, f"{DESCRIPTION} {error}", _REMEDY) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        finding = f"{DESCRIPTION} is damaged ({place[:80]}: {first['msg'][:120]})"
        raise ModelFileError(subject, finding, _REMEDY) from None


def _require_files(
    description: ChainDescription, files: Mapping[str, bytes], subject: object
) -> None:
    """Every file is there with its hash, named once, and nothing else is."""
    named: dict[str, str] = {}
    for segment in description.segments:
        pairs = [(segment.file, segment.sha256)]
        if segment.compiled is not None:
            if segment.device != "tpu" or segment.compiled_sha256 is None:
                finding = f"{segment.compiled} is compiled without a hash, or for the CPU"
                raise ModelFileError(subject, finding, _REMEDY)
            pairs.append((segment.compiled, segment.compiled_sha256))
        for name, expected in pairs:
            if name in named:
                raise ModelFileError(subject, f"uses {name} twice", _REMEDY)
            if name not in files:
                raise ModelFileError(subject, f"names {name}, which is not inside", _REMEDY)
            if sha256(files[name]) != expected:
                raise ModelFileError(subject, f"{name} is not the file it was made with", _REMEDY)
            named[name] = expected
    surplus = sorted(set(files) - set(named))
    if surplus:
        raise ModelFileError(subject, f"holds {surplus[0][:60]!r}, which no segment uses", _REMEDY)


def _require_order(description: ChainDescription, subject: object) -> None:
    """Each tensor is made once, before it is read."""
    borders = [border.name for border in description.borders]
    if len(set(borders)) != len(borders):
        raise ModelFileError(subject, "describes a tensor twice", _REMEDY)
    known = {description.input}
    for segment in description.segments:
        for name in segment.inputs:
            if name not in known:
                finding = f"{segment.file} reads {name[:80]!r} before it is made"
                raise ModelFileError(subject, finding, _REMEDY)
        for name in segment.outputs:
            if name in known:
                raise ModelFileError(subject, f"{name[:80]!r} is made twice", _REMEDY)
            known.add(name)
    if not known.issuperset(description.outputs) or known != set(borders):
        raise ModelFileError(
            subject, "the tensors it describes are not those its segments make", _REMEDY
        )
    model = description.model
    shapes = {border.name: tuple(border.shape) for border in description.borders}
    require_shapes(
        (shapes[name] for name in (description.input, *description.outputs)),
        image=(*model.input_size, model.channels),
        classes=len(model.labels),
        features=model.features,
        subject=subject,
    )


def _require_head(
    description: ChainDescription, documents: Sequence[Document], subject: object
) -> None:
    """Features are what the logits are made of; between segments tensors are known by name."""
    if description.features is None:
        return
    makers: dict[Hashable, tuple[str, Hashable]] = {}
    for document in documents:
        (graph,) = document.subgraphs
        names = [tensor.name for tensor in graph.tensors]
        for operator in graph.operators:
            if operator.inputs and operator.inputs[0] >= 0:
                read = names[operator.inputs[0]]
                makers |= {names[made]: (operator.name, read) for made in operator.outputs}
    logits, features = _tensors(documents, description.outputs)
    require_features(features, subject)
    require_head(description.output, description.features, makers, subject)
    if description.model.guard is not None:
        require_guard(description.model.guard, logits, features, subject=subject)


def _tensors(documents: Iterable[Document], names: Iterable[str]) -> list[Tensor]:
    """Return borders of a chain as its segments have them, by name."""
    known = {
        tensor.name: tensor
        for document in documents
        for tensor in (*document.inputs, *document.outputs)
    }
    return [known[name] for name in names]


def _document(
    description: ChainDescription,
    segment: ChainSegment,
    files: Mapping[str, bytes],
    subject: object,
) -> Document:
    """Read a segment's file and hold it against the description; its compiled twin too."""
    document = _segment_file(description, segment, segment.file, files, subject)
    if segment.compiled is not None:
        compiled = _segment_file(description, segment, segment.compiled, files, subject)
        codes = {op.custom_code for op in compiled.operators if op.name == "CUSTOM"}
        if codes != {EDGETPU_OPERATOR}:
            finding = f"{segment.compiled} was not compiled for the Edge TPU"
            raise ModelFileError(subject, finding, _REMEDY)
    return document


def _segment_file(
    description: ChainDescription,
    segment: ChainSegment,
    name: str,
    files: Mapping[str, bytes],
    subject: object,
) -> Document:
    part = f"{subject}: {name}"
    document = require_allowed(read_document(files[name], subject=part), part)
    if len(document.subgraphs) != 1:
        raise ModelFileError(part, "it holds more than one graph", _REMEDY)
    borders = {border.name: border for border in description.borders}
    for names, tensors in (
        (segment.inputs, document.inputs),
        (segment.outputs, document.outputs),
    ):
        expected = sorted(_key(borders[border]) for border in names)
        if sorted(_tensor_key(tensor) for tensor in tensors) != expected:
            finding = f"inputs or outputs of {name} are not those it describes"
            raise ModelFileError(subject, finding, _REMEDY)
    return document


def _key(border: Border) -> _Key:
    return (border.name, tuple(border.shape), border.dtype, border.scale, border.zero_point)


def _tensor_key(tensor: Tensor) -> _Key:
    # A tensor without a single scale is no border's equal: -1 keeps the tuples sortable.
    scale = -1.0 if tensor.scale is None else tensor.scale
    zero_point = -1000 if tensor.zero_point is None else tensor.zero_point
    return (tensor.name, tensor.shape, tensor.dtype, scale, zero_point)
