"""A file's second output, the features that its logits are made of, from the file to the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from command import run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from open_guard import guard_values, open_guard
from tiny_metadata import metadata, plain_features, plain_image, plain_logits, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.metadata import ModelMetadata, embed, pack, read_metadata

WITH_FEATURES = embed(tiny_model(features=True), metadata(features=True))
RED = plain_image("RED")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of format 3."""
    path = tmp_path / "tiny.tflite"
    path.write_bytes(WITH_FEATURES)
    return path


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """One image per colour."""
    for label in COLOURS:
        (tmp_path / "cells" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "cells" / label / "0.png"), plain_image(label)[:, :, ::-1])
    return tmp_path / "cells"


@pytest.mark.parametrize("kernels", list(Kernels))
@pytest.mark.parametrize("isolated", [False, True])
def test_the_runtime_gives_logits_and_features(kernels: Kernels, isolated: bool) -> None:
    with Interpreter(WITH_FEATURES, kernels=kernels, isolated=isolated) as interpreter:
        assert [output.shape for output in interpreter.outputs] == [(1, 3), (1, 3)]
        assert interpreter.output == interpreter.outputs[0]
        logits, features = interpreter.invoke_all(RED)
        assert logits[0].tolist() == plain_logits(RED).tolist()
        assert features[0].tolist() == plain_features(RED).tolist()
        assert interpreter.invoke(RED).tolist() == logits.tolist()


def test_an_answer_has_its_features(model: Path, tmp_path: Path) -> None:
    with Classifier(model) as classifier:
        answer = classifier.classify(RED)
        assert answer.features is not None
        assert answer.features.dtype == np.int8
        assert answer.features.tolist() == plain_features(RED).tolist()
        assert "features" not in repr(answer)
        assert answer == classifier.classify(RED)
    with Classifier(tiny_file(tmp_path / "old.tflite")) as classifier:
        assert classifier.metadata.format_version == 2
        assert classifier.classify(RED).features is None


@pytest.mark.parametrize(
    ("kernels", "field"), [("reference", "features"), ("auto", "xnnpack_features")]
)
def test_a_golden_feature_that_its_kernels_miss_by_one_step_is_a_failed_check(
    kernels: str, field: str, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = metadata(features=True), tmp_path / "wrong.tflite"
    features = getattr(data.golden[1], field)
    wrong = data.golden[1].model_copy(update={field: [*features[:2], features[2] + 1]})
    changed = data.model_copy(update={"golden": [data.golden[0], wrong, data.golden[2]]})
    path.write_bytes(embed(tiny_model(features=True), changed))
    out = tmp_path / "report"
    command = ("validate", path, "--data", cells, "--out", out, "--kernels")
    assert run_command(*command, kernels) == 1
    assert "give 2 of 3 golden pairs only" in capsys.readouterr().err
    golden = json.loads((out / "report.json").read_text())["golden"]
    assert (golden["values_that_differ"], golden["largest_difference"]) == (1, 1)
    # The reference pairs are compared whatever kernels run, those of the kernels where they run.
    other = "auto" if kernels == "reference" else "reference"
    assert run_command(*command, other) == (1 if kernels == "reference" else 0)


def test_inspect_shows_the_second_output(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("inspect", model, "--summary") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "output mean: INT8 1×3" in printed
    assert "features 3, the second output" in printed
    assert "guard none: answers are judged by their probability alone" in printed
    assert run_command("inspect", model, "--json") == 0
    said = json.loads(capsys.readouterr().out)["metadata"]
    assert (said["format_version"], said["features"], said["guard"]) == (3, 3, None)


def test_inspect_says_that_an_old_file_gives_no_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_file(tmp_path / "old.tflite")
    assert run_command("inspect", path, "--summary") == 0
    assert "none: it gives logits only" in " ".join(capsys.readouterr().out.split())


def test_metadata_without_features_are_written_as_they_were() -> None:
    text = metadata().model_dump_json()
    assert "features" not in text
    assert "guard" not in text
    assert ModelMetadata.model_validate_json(text) == metadata()
    assert read_metadata(WITH_FEATURES) == metadata(features=True)


# -- files whose outputs are not what they say ----------------------------------------------------


def _edited(edit: Callable[[Any], None]) -> bytes:
    """The file of format 3 with another graph."""
    tree: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_model(features=True), 0))
    edit(tree.subgraphs[0])
    return embed(pack(tree), metadata(features=True))


def _number(graph: Any, name: str) -> int:
    return next(n for n, tensor in enumerate(graph.tensors) if tensor.name == name.encode())


def _give(*names: str) -> Callable[[Any], None]:
    def edit(graph: Any) -> None:
        graph.outputs = np.array([_number(graph, name) for name in names], np.int32)

    return edit


def _same_names(graph: Any) -> None:
    """Outputs are told apart by place, so equal names with the wrong tensors change nothing."""
    _give("mean", "logits")(graph)
    for tensor in graph.tensors:
        tensor.name = b"logits"


def _shaped(*shape: int) -> Callable[[Any], None]:
    def edit(graph: Any) -> None:
        graph.tensors[_number(graph, "mean")].shape = np.array(shape, np.int32)

    return edit


def _typed(name: str) -> Callable[[Any], None]:
    def edit(graph: Any) -> None:
        graph.tensors[_number(graph, "mean")].type = getattr(schema.TensorType, name)

    return edit


def _unscaled(graph: Any) -> None:
    graph.tensors[_number(graph, "mean")].quantization = None


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (_give("logits"), "metadata say input, logits and features"),
        (_give("logits", "mean", "mean"), "metadata say input, logits and features"),
        (_give("mean", "logits"), "not what the layer of its logits reads"),
        (_give("logits", "logits"), "not what the layer of its logits reads"),
        (_give("mean", "mean"), "not what the layer of its logits reads"),
        (_give("logits", "mixed"), "metadata say input, logits and features"),
        (_same_names, "not what the layer of its logits reads"),
        (_shaped(1, 4), "metadata say input, logits and features"),
        (_shaped(3), "metadata say input, logits and features"),
        (_shaped(1, 1, 3, 1), "metadata say input, logits and features"),
        (_typed("UINT8"), "its features are UINT8, not INT8"),
        (_typed("FLOAT32"), "its features are FLOAT32, not INT8"),
        (_unscaled, "its features have no single scale"),
    ],
)
def test_a_file_with_other_outputs_than_it_says_is_refused(
    edit: Callable[[Any], None], finding: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(_edited(edit))
    with pytest.raises(ModelFileError, match=finding) as error:
        Classifier(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_outputs_need_the_format_that_has_them(tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(embed(tiny_model(features=True), metadata()))
    with pytest.raises(ModelFileError, match="metadata say input and output"):
        Classifier(path)


def test_a_foreign_model_of_two_outputs_is_no_classifier(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_model(features=True))
    assert run_command("validate", path, "--data", cells, "--out", tmp_path / "report") == 2
    assert "it is no image classifier" in capsys.readouterr().err


def test_no_model_of_three_outputs_is_loaded() -> None:
    with pytest.raises(ModelFileError, match="it has 3 outputs"):
        Interpreter(_edited(_give("logits", "mean", "mean")))


@pytest.mark.parametrize(
    "change",
    [
        {"features": None},
        {"features": 0},
        {"features": 4},
        {"format_version": 2},
        {"format_version": 4},
        {"golden": [{"features": [1, 2]}]},
        {"golden": [{"features": [1, 2, 128]}]},
        {"golden": [{"features": None}]},
        {"golden": [{"xnnpack_features": None}]},
        {"golden": [{"features": None, "xnnpack_features": None}]},
        {"golden": [{"xnnpack_logits": None}]},
    ],
)
def test_features_that_do_not_hold_together_are_refused(change: dict[str, Any]) -> None:
    values = json.loads(metadata(features=True).model_dump_json())
    pairs = change.get("golden", [])
    golden = [pair | new for pair, new in zip(values["golden"], pairs, strict=False)]
    ModelMetadata.model_validate(values)
    with pytest.raises(ValueError, match=r"golden|features|format_version"):
        ModelMetadata.model_validate(values | change | {"golden": golden or values["golden"]})


# -- a guard of other outputs than the file's -----------------------------------------------------


def _guarded(data: ModelMetadata, **changes: Any) -> bytes:
    """The file of format 3 with a guard, and without golden pairs."""
    found = data.model_copy(update={"guard": open_guard(**changes), "golden": []})
    return embed(tiny_model(features=True), found)


def test_a_guard_of_the_file_s_own_outputs_judges_its_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guarded.tflite"
    path.write_bytes(_guarded(metadata(features=True)))
    with Classifier(path) as classifier:
        assert classifier.metadata.guard == open_guard()
        answer = classifier.classify(RED)
        assert (answer.label, answer.verdict) == ("RED", "accepted")
    assert run_command("inspect", path, "--summary") == 0
    assert "3 clusters and 1 prototype of known cells" in " ".join(capsys.readouterr().out.split())
    assert run_command("inspect", path, "--json") == 0
    said = json.loads(capsys.readouterr().out)["metadata"]["guard"]
    assert (said["clusters"], said["prototypes"]) == (3, 1)


def _measuring(name: str) -> dict[str, Any]:
    """Fields of a guard that holds images to a measure."""
    groups = [group | {"bounds": [{"low": 0, "high": 1}]} for group in guard_values()["groups"]]
    return {"measures": [{"name": name, "fit_low": 1.0}], "groups": groups}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"feature_scale": 1.5}, "its guard judges features of scale 1.5, zero point -128"),
        ({"feature_scale": 1 + 2**-20}, "its guard judges features of scale"),
        ({"feature_zero_point": -127}, "its guard judges features of scale 1, zero point -127"),
        ({"logit_scale": 1.0, "temperature": 0.5}, "its guard judges logits of scale 1"),
        (
            {"clusters": [{"label": n, "group": 0, "cells": 1} for n in (0, 1, 3)]},
            "a class that",
        ),
        ({"appearance": [f"measure {n}" for n in range(10)]}, "its guard wants 'measure 0'"),
        (_measuring("smell"), "its guard wants 'smell'"),
    ],
)
def test_a_guard_of_other_outputs_is_refused(
    changes: dict[str, Any], finding: str, tmp_path: Path
) -> None:
    path = tmp_path / "guarded.tflite"
    path.write_bytes(_guarded(metadata(features=True), **changes))
    with pytest.raises(ModelFileError, match=finding) as error:
        Classifier(path)
    assert "\n" not in str(error.value)


def test_a_guard_needs_features(tmp_path: Path) -> None:
    path = tmp_path / "guarded.tflite"
    old = metadata().model_copy(update={"guard": open_guard(), "golden": []})
    path.write_bytes(embed(tiny_model(), old))
    with pytest.raises(ModelFileError, match="the guard is for 3 features, the file has None"):
        Classifier(path)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WITH_FEATURES) - 1), st.binary(min_size=1, max_size=40))
def test_overwritten_files_give_features_or_an_error(position: int, noise: bytes) -> None:
    broken = (WITH_FEATURES[:position] + noise + WITH_FEATURES[position + len(noise) :])[
        : len(WITH_FEATURES)
    ]
    try:
        found = read_metadata(broken)
    except ModelFileError:
        return
    assert found is None or found.features == 3
