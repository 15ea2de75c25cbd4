"""Metadata travel inside the model file, deterministically, and the runtime still loads it."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_metadata import metadata, plain_image, plain_logits
from tiny_model import COLOURS, tiny_model

from qlvit_edge.errors import ModelFileError
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.metadata import ModelMetadata, embed, read_metadata
from qlvit_edge.modelfile.reader import OWN_METADATA, read_document
from qlvit_edge.modelfile.summary import metadata_values

PLAIN = tiny_model()
EMBEDDED = embed(PLAIN, metadata())


def _with_text(text: str) -> bytes:
    """Return a model whose metadata buffer holds `text`."""
    length = len(metadata().model_dump_json())
    start = EMBEDDED.index(b'{"format_version"')
    return EMBEDDED[:start] + text.ljust(length).encode() + EMBEDDED[start + length :]


def _pair(logits: list[int], xnnpack_logits: list[int] | None) -> dict[str, object]:
    return {
        "image_png": "",
        "logits": logits,
        "xnnpack_logits": xnnpack_logits,
        "label": "RED",
        "source": "",
    }


def test_metadata_of_format_1_are_read() -> None:
    values = json.loads(metadata(golden=False).model_dump_json()) | {
        "format_version": 1,
        "golden": [{"image_png": "", "logits": [1, 2, 3], "label": "RED", "source": ""}],
    }
    found = read_metadata(_with_text(json.dumps(values)))
    assert found is not None
    assert found.format_version == 1
    assert found.golden[0].logits == [1, 2, 3]
    assert found.golden[0].xnnpack_logits is None


def test_metadata_come_back_as_they_went_in() -> None:
    assert read_metadata(EMBEDDED) == metadata()
    assert read_metadata(PLAIN) is None


def test_stain_camera_and_objective_are_there_where_they_were_said() -> None:
    said = {"stain": "May-Grünwald-Giemsa", "camera": "IMX477", "objective": "40×/0.65"}
    described = metadata().model_copy(update=said)
    found = read_metadata(embed(PLAIN, described))
    assert found == described
    shown = metadata_values(described)
    assert {name: shown[name] for name in said} == said
    # Unsaid, the file is what it was before they could be said.
    assert not said.keys() & metadata_values(metadata()).keys()
    assert b'"stain"' not in EMBEDDED
    with pytest.raises(ValidationError):
        ModelMetadata.model_validate(metadata().model_dump() | {"stain": "x" * 201})


def test_embedding_is_deterministic_and_replaces() -> None:
    assert embed(PLAIN, metadata()) == EMBEDDED
    assert embed(EMBEDDED, metadata()) == EMBEDDED
    other = metadata().model_copy(update={"name": "other"})
    again = embed(EMBEDDED, other)
    assert read_metadata(again) == other
    assert read_document(again).metadata_names.count(OWN_METADATA) == 1


def test_graph_is_unchanged_and_weights_lie_at_multiples_of_16() -> None:
    before, after = read_document(PLAIN), read_document(EMBEDDED)
    assert before.subgraphs == after.subgraphs
    weights = np.array(list(COLOURS.values()), np.int8).tobytes()
    assert EMBEDDED.index(weights) % 16 == 0
    assert EMBEDDED.index(b'{"format_version"') % 16 == 0


@pytest.mark.parametrize("resolver", ["AUTO", "BUILTIN_REF"])
def test_runtime_loads_the_file_and_gives_the_golden_logits(resolver: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=EMBEDDED, experimental_op_resolver_type=OpResolverType[resolver]
    )
    interpreter.allocate_tensors()
    for pair in metadata().golden:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pair.image()[None])
        interpreter.invoke()
        logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert logits[0].tolist() == pair.logits


def test_labels_are_an_associated_file() -> None:
    with zipfile.ZipFile(io.BytesIO(EMBEDDED)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().split() == list(COLOURS)


def test_a_file_cut_inside_its_archive_of_labels_is_truncated() -> None:
    tail = len(EMBEDDED) - EMBEDDED.index(b"PK\3\4")
    assert tail > 100
    for lost in range(1, tail + 1):
        with pytest.raises(ModelFileError, match="truncated"):
            read_document(EMBEDDED[:-lost])


def test_an_archive_that_contradicts_itself_is_refused() -> None:
    start, directory = EMBEDDED.index(b"PK\3\4"), EMBEDDED.index(b"PK\1\2")
    end = EMBEDDED.index(b"PK\5\6")
    for broken in (
        EMBEDDED[: directory - 2] + EMBEDDED[directory:],
        EMBEDDED[: start + 4] + EMBEDDED[start + 8 :],
        EMBEDDED[:directory] + EMBEDDED[end:],
        EMBEDDED[:end] + bytes(12) + EMBEDDED[end + 12 :],
        EMBEDDED + b"\0",
    ):
        with pytest.raises(ModelFileError, match="truncated"):
            read_document(broken)


def test_golden_pair_keeps_the_image() -> None:
    image = plain_image("RED")
    image[3, 4] = (1, 2, 3)
    pair = (
        metadata()
        .golden[0]
        .of(image, plain_logits(image)[None], plain_logits(image)[None] + 1, "RED", "synthetic")
    )
    assert pair.logits == plain_logits(image).tolist()
    assert pair.xnnpack_logits == [value + 1 for value in pair.logits]
    np.testing.assert_array_equal(pair.image(), image)


def test_damaged_golden_image_is_a_model_file_error() -> None:
    pair = metadata().golden[0]
    for text in ("not base64!", "aGVsbG8="):
        with pytest.raises(ModelFileError, match="damaged"):
            pair.model_copy(update={"image_png": text}).image()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["A", "B", "A"]},
        {"labels": ["A"]},
        {"labels": ["A", " ", "C"]},
        {"input_size": [0, 8]},
        {"format_version": 3},
        {"accuracy": {"test": "inf"}},
        {"surprise": 1},
        {"golden": [_pair([1, 2], [1, 2, 3])]},
        {"golden": [_pair([1, 2, 3], [1, 2])]},
        {"golden": [_pair([1, 2, 3], [])]},
        {"golden": [_pair([1, 2, 900], [1, 2, 3])]},
        {"golden": [_pair([1, 2, 3], None)]},
        {"golden": [_pair([1, 2, 3], [1, 2, 3])], "format_version": 1},
    ],
)
def test_metadata_that_do_not_hold_together_are_refused(change: dict[str, object]) -> None:
    values = json.loads(metadata(golden=False).model_dump_json())
    with pytest.raises(ModelFileError, match="metadata are damaged"):
        read_metadata(_with_text(json.dumps(values | change)))


def test_metadata_that_contradict_the_graph_are_refused() -> None:
    values = json.loads(metadata(golden=False).model_dump_json())
    for change in ({"labels": ["A", "B"]}, {"input_size": [16, 16]}):
        with pytest.raises(ModelFileError, match="the graph says"):
            read_metadata(_with_text(json.dumps(values | change)), subject="m.tflite")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(EMBEDDED) - 1), st.binary(min_size=1, max_size=40))
def test_overwritten_files_give_metadata_or_an_error(position: int, noise: bytes) -> None:
    broken = (EMBEDDED[:position] + noise + EMBEDDED[position + len(noise) :])[: len(EMBEDDED)]
    try:
        found = read_metadata(broken)
    except ModelFileError:
        return
    assert found is None or isinstance(found, ModelMetadata)


def test_audit_passes_integers_and_names_floats() -> None:
    assert audit_integer_only(read_document(PLAIN)).passed
    audit = audit_integer_only(read_document(tiny_model(floating=True)))
    assert not audit.passed
    assert not audit.integer_only
    assert "kernel" in audit.float_tensors
    assert audit.verdict.startswith("not an integer model: 8 float tensors (image, kernel, bias")


def test_audit_names_custom_and_unknown_operators() -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as generated

    model = generated.ModelT.InitFromObj(generated.Model.GetRootAs(PLAIN, 0))
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = b"MyOp"
    model.operatorCodes[2].builtinCode = 4000
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    audit = audit_integer_only(read_document(bytes(builder.Output())))
    assert audit.integer_only
    assert audit.non_builtin == ("MyOp", "UNKNOWN_4000")
    assert not audit.passed
