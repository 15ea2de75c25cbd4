"""A chain computes what its uncut graph computes; a damaged or hostile one is refused."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_edgetpu_compiler import compiled
from mini_chain import (
    edgetpu_graph,
    edited_archive,
    metadata,
    mini_chain,
    packed_archive,
    unpacked_archive,
)
from mini_network import images

from qlvit_edge import Classifier
from qlvit_edge.converters.edgetpu.chain import ChainFiles, compare_chain, pack
from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.inference.chain import ChainInterpreter, open_model
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.chain import DESCRIPTION, read_chain, read_model
from qlvit_edge.modelfile.edgetpu_forecast import forecast


@pytest.fixture(scope="module")
def made() -> tuple[ChainFiles, bytes]:
    return mini_chain()


@pytest.fixture(scope="module")
def archive(made: tuple[ChainFiles, bytes]) -> bytes:
    return made[1]


@pytest.mark.parametrize("kernels", list(Kernels))
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_chain_equals_the_uncut_graph(kernels: Kernels, share: float) -> None:
    chain, content = mini_chain(share)
    whole, cut = (
        Interpreter(chain.whole, kernels=kernels),
        ChainInterpreter(content, kernels=kernels),
    )
    for image in images(6, seed=7):
        for part, uncut in zip(cut.invoke_all(image), whole.invoke_all(image), strict=True):
            assert np.array_equal(part, uncut)
    assert cut.input.shape == whole.input.shape
    assert cut.outputs == whole.outputs
    assert [output.name for output in cut.outputs] == ["logits", "features"]


@pytest.mark.parametrize("kernels", [Kernels.REFERENCE, Kernels.AUTO])
def test_every_border_equals_the_uncut_graph(
    kernels: Kernels, made: tuple[ChainFiles, bytes]
) -> None:
    chain, content = made
    borders, unequal = compare_chain(content, chain.whole, images(2, seed=9), kernels)
    assert borders > 5
    assert unequal == {}


@pytest.mark.parametrize("kernels", [Kernels.REFERENCE, Kernels.AUTO])
def test_a_border_that_differs_is_found(kernels: Kernels, made: tuple[ChainFiles, bytes]) -> None:
    chain, content = made
    graph = edgetpu_graph()
    weights = (t.data for t in graph.tensors() if t.data is not None and t.dtype == "int8")
    stored = np.ascontiguousarray(max(weights, key=lambda data: data.size)).tobytes()
    changed = chain.whole.replace(stored, bytes(255 - byte for byte in stored))
    assert changed != chain.whole
    _, unequal = compare_chain(content, changed, images(2, seed=9), kernels)
    assert max(unequal.values()) == 2


def test_segments_for_the_edge_tpu_break_no_rule(archive: bytes) -> None:
    chain = read_chain(archive)
    devices = []
    for segment, document in zip(chain.description.segments, chain.documents, strict=True):
        devices.append(segment.device)
        if segment.device == "tpu":
            found = forecast(document)
            assert found.partition == len(found.operators)
        borders = {tensor.dtype for tensor in (*document.inputs, *document.outputs)}
        assert borders <= {"INT8", "UINT8"}
        assert len(document.subgraphs) == 1
    assert devices.count("tpu") == chain.description.round_trips
    assert {"tpu", "cpu"} == set(devices)
    assert all(a != b for a, b in itertools.pairwise(devices))


def test_the_same_graph_gives_the_same_bytes(archive: bytes) -> None:
    assert mini_chain()[1] == archive


def test_the_classifier_takes_a_chain(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mini.chain"
    path.write_bytes(archive)
    classifier = Classifier(path, kernels="reference")
    assert classifier.labels == tuple(metadata().labels)
    assert "all on the CPU" in classifier.kernels_used
    answer = classifier.classify(images(1)[0])
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_a_chain_opens_as_a_model(archive: bytes) -> None:
    opened = read_model(archive)
    assert opened.metadata == metadata()
    assert [tensor.shape for tensor in (*opened.inputs, *opened.outputs)] == [
        (1, 32, 32, 3),
        (1, 5),
        (1, 1, 1, 8),
    ]
    assert len(opened.document.subgraphs) == len(read_chain(archive).documents)


def test_wrong_input_is_refused(archive: bytes) -> None:
    with pytest.raises(ValueError, match="the model takes"):
        ChainInterpreter(archive).invoke(np.zeros((1, 8, 8, 3), np.uint8))


def test_an_uncompiled_chain_has_nothing_for_a_delegate(archive: bytes) -> None:
    with pytest.raises(DeviceError, match="not compiled"):
        open_model(archive, delegate=Delegate("libedgetpu.so.1"))


def test_a_missing_delegate_is_one_line(made: tuple[ChainFiles, bytes]) -> None:
    content = _with_compiled(made[0])
    with pytest.raises(DeviceError, match="cannot be loaded") as error:
        open_model(content, delegate=Delegate("libno-such-delegate.so.1"))
    assert "\n" not in str(error.value)


def test_a_delegate_is_for_chains(made: tuple[ChainFiles, bytes]) -> None:
    with pytest.raises(DeviceError, match="not a chain"):
        open_model(made[0].whole, delegate=Delegate("libedgetpu.so.1"))


def test_a_file_that_is_compiled_as_a_whole_has_nothing_to_go_on_with(
    made: tuple[ChainFiles, bytes],
) -> None:
    whole, _ = compiled(made[0].whole)
    with pytest.raises(ModelFileError, match="compiled for an Edge TPU") as error:
        open_model(whole)
    assert "give the chain" in str(error.value)


def test_compiled_segments_travel_along(made: tuple[ChainFiles, bytes], archive: bytes) -> None:
    content = _with_compiled(made[0])
    chain = read_chain(content)
    on_tpu = [segment for segment in chain.description.segments if segment.device == "tpu"]
    assert all(segment.compiled in chain.files for segment in on_tpu)
    # Without the delegate the uncompiled files run: the same answer.
    image = images(1, seed=4)[0]
    assert np.array_equal(
        ChainInterpreter(content).invoke(image), ChainInterpreter(archive).invoke(image)
    )


def _with_compiled(chain: ChainFiles) -> bytes:
    on_tpu = {f"{segment.name}.tflite" for segment in chain.segments if segment.device == "tpu"}
    twins = {name: compiled(content)[0] for name, content in chain.files.items() if name in on_tpu}
    return pack(chain, metadata(), twins)


# -- hostile chains -------------------------------------------------------------------------


def _outside(d: dict[str, Any]) -> None:
    d["segments"][0]["file"] = "../../etc/passwd"


def _absolute(d: dict[str, Any]) -> None:
    d["segments"][0]["file"] = "/etc/passwd"


def _unknown_file(d: dict[str, Any]) -> None:
    d["segments"][0]["file"] = "99-tpu.tflite"


def _wrong_hash(d: dict[str, Any]) -> None:
    d["segments"][1]["sha256"] = "0" * 64


def _reversed(d: dict[str, Any]) -> None:
    d["segments"].reverse()


def _loop(d: dict[str, Any]) -> None:
    d["segments"].append(d["segments"][0])


def _made_twice(d: dict[str, Any]) -> None:
    d["segments"][1]["outputs"] = d["segments"][0]["outputs"]


def _reads_itself(d: dict[str, Any]) -> None:
    d["segments"][0]["inputs"] = d["segments"][0]["outputs"]


def _other_scale(d: dict[str, Any]) -> None:
    d["borders"][1]["scale"] *= 2


def _other_shape(d: dict[str, Any]) -> None:
    d["borders"][1]["shape"][-1] += 1


def _no_scale(d: dict[str, Any]) -> None:
    d["borders"][1]["scale"] = 0.0


def _twice_described(d: dict[str, Any]) -> None:
    d["borders"].append(d["borders"][0])


def _no_such_output(d: dict[str, Any]) -> None:
    d["output"] = "nothing"


def _no_segments(d: dict[str, Any]) -> None:
    d["segments"] = []


def _other_version(d: dict[str, Any]) -> None:
    d["version"] = 2


def _surplus(d: dict[str, Any]) -> None:
    d["command"] = "rm -rf /"


def _too_few_labels(d: dict[str, Any]) -> None:
    d["model"]["labels"] = d["model"]["labels"][:3]


def _features_are_not_said(d: dict[str, Any]) -> None:
    del d["features"]


def _features_of_a_file_without(d: dict[str, Any]) -> None:
    d["model"] |= {"features": None, "format_version": 2}


def _features_that_nothing_makes(d: dict[str, Any]) -> None:
    d["features"] = "nothing"


def _other_number_of_features(d: dict[str, Any]) -> None:
    d["model"]["features"] = 7


def _outputs_the_other_way_round(d: dict[str, Any]) -> None:
    d["output"], d["features"] = d["features"], d["output"]


def _logits_as_features(d: dict[str, Any]) -> None:
    d["features"] = d["output"]
    d["model"]["features"] = len(d["model"]["labels"])


def _compiled_for_the_cpu(d: dict[str, Any]) -> None:
    d["segments"][1]["compiled"] = d["segments"][0]["file"]
    d["segments"][1]["compiled_sha256"] = d["segments"][0]["sha256"]


def _compiled_without_hash(d: dict[str, Any]) -> None:
    d["segments"][0]["compiled"] = "00-tpu_edgetpu.tflite"


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (_outside, "pattern"),
        (_absolute, "pattern"),
        (_unknown_file, "not inside"),
        (_wrong_hash, "not the file it was made with"),
        (_reversed, "before it is made"),
        (_loop, "twice"),
        (_made_twice, "made twice"),
        (_reads_itself, "before it is made"),
        (_other_scale, "not those it describes"),
        (_other_shape, "not those it describes"),
        (_no_scale, "greater than 0"),
        (_twice_described, "twice"),
        (_no_such_output, "not those its segments make"),
        (_no_segments, "segments"),
        (_other_version, "version"),
        (_surplus, "command"),
        (_too_few_labels, "metadata say input, logits and features"),
        (_features_are_not_said, "metadata say input, logits and features"),
        (_features_of_a_file_without, "metadata say input and output"),
        (_features_that_nothing_makes, "not those its segments make"),
        (_other_number_of_features, r"features .*\(1, 7\)"),
        (_outputs_the_other_way_round, "metadata say input, logits and features"),
        (_logits_as_features, "not what the layer of its logits reads"),
        (_compiled_for_the_cpu, "for the CPU"),
        (_compiled_without_hash, "without a hash"),
    ],
)
def test_a_contradicting_description_is_refused(
    archive: bytes, edit: Callable[[dict[str, Any]], None], finding: str
) -> None:
    with pytest.raises(ModelFileError, match=finding) as error:
        ChainInterpreter(edited_archive(archive, edit))
    assert "\n" not in str(error.value)


def test_a_compiled_file_must_be_one(made: tuple[ChainFiles, bytes]) -> None:
    files = made[0].files
    first = next(iter(files))
    content = pack(made[0], metadata(), {first: files[first]})
    with pytest.raises(ModelFileError, match="not compiled for the Edge TPU"):
        read_chain(content)


def test_a_segment_that_is_no_model_is_refused(archive: bytes) -> None:
    files = unpacked_archive(archive)
    description = json.loads(files[DESCRIPTION])
    segment = description["segments"][0]
    noise = b"\x1c\0\0\0TFL3" + bytes(range(200))
    segment["sha256"] = sha256(noise)
    files[segment["file"]] = noise
    files[DESCRIPTION] = json.dumps(description).encode()
    with pytest.raises(ModelFileError, match=segment["file"]):
        read_chain(packed_archive(list(files.items())))


def test_a_truncated_chain_is_refused_wherever_it_is_cut(archive: bytes) -> None:
    for length in (*range(4, 60), *range(60, len(archive), max(1, len(archive) // 60))):
        with pytest.raises(ModelFileError):
            read_chain(archive[:length])


def test_flipped_bytes_change_nothing_or_are_refused(archive: bytes) -> None:
    generator = np.random.default_rng(0)
    expected = read_chain(archive)
    for position in generator.integers(4, len(archive), 150):
        damaged = bytearray(archive)
        damaged[position] ^= int(generator.integers(1, 256))
        try:
            found = read_chain(bytes(damaged))
        except ModelFileError:
            continue
        assert found.files == expected.files
        assert found.description == expected.description


def test_archives_that_unfold_or_repeat_are_refused(archive: bytes) -> None:
    files = list(unpacked_archive(archive).items())
    with pytest.raises(ModelFileError, match="compressed"):
        read_chain(packed_archive([*files, ("zeros", bytes(10_000_000))], zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelFileError, match="no segment uses"):
        read_chain(packed_archive([*files, ("../evil", b"x")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = packed_archive([*files, files[-1]])
    with pytest.raises(ModelFileError, match="twice"):
        read_chain(twice)
    with pytest.raises(ModelFileError, match=r"without chain\.json"):
        read_chain(packed_archive([("a.txt", b"x")]))
    deep = b"[" * 100_000
    with pytest.raises(ModelFileError, match=DESCRIPTION):
        read_chain(packed_archive([(DESCRIPTION, deep)]))
