"""Loading and running model files, and saying which kernels did it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny_metadata import plain_image, plain_logits
from tiny_model import COLOURS, tiny_model

from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.inference import native as module
from qlvit_edge.inference import network
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.tensor_info import TensorInfo


@pytest.mark.parametrize("kernels", Kernels)
def test_an_integer_model_answers_on_every_kernel_set(kernels: Kernels) -> None:
    interpreter = Interpreter(tiny_model(), kernels=kernels)
    for label in COLOURS:
        image = plain_image(label)
        output = interpreter.invoke(image)
        assert output.shape == (1, 3)
        assert output.dtype == np.int8
        assert np.array_equal(output[0], plain_logits(image))


def test_a_float_model_runs_too() -> None:
    interpreter = Interpreter(tiny_model(floating=True))
    assert interpreter.input.dtype == np.float32
    assert not interpreter.input.quantised
    output = interpreter.invoke(plain_image("RED").astype(np.float32))
    assert list(COLOURS)[int(output.argmax())] == "RED"


def test_shapes_scales_and_types_are_told() -> None:
    interpreter = Interpreter(tiny_model(size=4))
    assert interpreter.input == TensorInfo("image", (1, 4, 4, 3), np.dtype(np.uint8), 1.0, 0)
    assert interpreter.output == TensorInfo("logits", (1, 3), np.dtype(np.int8), 2.0, 0)
    assert interpreter.output.dequantise(np.array([[3]], np.int8)).tolist() == [[6.0]]


def test_the_kernels_that_really_run_are_named() -> None:
    auto = Interpreter(tiny_model())
    assert auto.partitions == 1
    assert auto.kernels_used.startswith("XNNPACK (1 partition, ")
    assert not auto.xnnpack_missing
    builtin = Interpreter(tiny_model(), kernels=Kernels.BUILTIN)
    assert builtin.kernels_used == "builtin (4 builtin operators)"
    assert not builtin.xnnpack_missing
    reference = Interpreter(tiny_model(), kernels=Kernels.REFERENCE)
    assert reference.kernels_used == "reference (4 operators)"


def test_xnnpack_that_is_silently_off_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._RESOLVERS, Kernels.AUTO, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    interpreter = Interpreter(tiny_model())
    assert interpreter.xnnpack_missing
    assert "XNNPACK took none" in interpreter.kernels_used


def test_operators_left_to_builtin_kernels_are_counted() -> None:
    def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
        return {"op_name": name, "inputs": inputs, "outputs": outputs}

    # 0 → a → 1 → b → 2 → c → 3 → d → 4, where b and c were taken over.
    operators = [op("a", [0], [1]), op("b", [1], [2]), op("c", [2], [3]), op("d", [3], [4])]
    assert module._plan([*operators, op("DELEGATE", [1], [3])]) == ([[1, 2]], 2)
    assert module._plan(operators) == ([], 4)


def test_every_tensor_can_be_kept() -> None:
    interpreter = Interpreter(tiny_model(), kernels=Kernels.REFERENCE, keep_all_tensors=True)
    interpreter.invoke(plain_image("GREEN"))
    tensors = interpreter.tensors()
    assert {"image", "shifted", "mixed", "mean", "logits"} <= set(tensors)
    assert (tensors["shifted"] == plain_image("GREEN").astype(np.int16) - 128).all()
    with pytest.raises(ValueError, match="keep_all_tensors"):
        Interpreter(tiny_model(), kernels=Kernels.BUILTIN).tensors()
    with pytest.raises(ValueError, match="needs builtin or reference"):
        Interpreter(tiny_model(), keep_all_tensors=True)


def test_outputs_are_copies() -> None:
    interpreter = Interpreter(tiny_model())
    first = interpreter.invoke(plain_image("RED"))
    kept = first.copy()
    interpreter.invoke(plain_image("BLUE"))
    assert np.array_equal(first, kept)


def test_wrong_inputs_are_refused() -> None:
    interpreter = Interpreter(tiny_model())
    with pytest.raises(ValueError, match=r"takes uint8 \(1, 8, 8, 3\)"):
        interpreter.invoke(np.zeros((1, 9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="not float64"):
        interpreter.invoke(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="1 thread"):
        Interpreter(tiny_model(), threads=0)


def test_damaged_files_never_reach_native_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        network, "load_native", lambda *_, **__: pytest.fail("native code was loaded")
    )
    whole = tiny_model()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        Interpreter(path)
    with pytest.raises(ModelFileError, match="TFL3"):
        Interpreter(os.urandom(500))
    with pytest.raises(ModelFileError, match="no such file"):
        Interpreter(tmp_path / "none.tflite")


def test_a_runtime_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(DeviceError, match="pip install tflite-runtime"):
        Interpreter(tiny_model(), runtime="tflite-runtime")


def test_tflite_runtime_is_used_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import ai_edge_litert.interpreter as real

    package = ModuleType("tflite_runtime")
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", real)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    interpreter = Interpreter(tiny_model(), runtime="tflite-runtime", kernels=Kernels.BUILTIN)
    image = plain_image("BLUE")
    assert np.array_equal(interpreter.invoke(image)[0], plain_logits(image))


def test_loading_says_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Interpreter(tiny_model()).invoke(plain_image("RED"))
    assert capfd.readouterr() == ("", "")


def test_a_child_gives_the_same_answers() -> None:
    with open_isolated(tiny_model(), kernels=Kernels.REFERENCE) as model:
        here = Interpreter(tiny_model(), kernels=Kernels.REFERENCE)
        assert model.kernels_used == here.kernels_used == "reference (4 operators)"
        assert (model.input, model.output) == (here.input, here.output)
        for label in COLOURS:
            image = plain_image(label)
            assert np.array_equal(model.invoke(image), here.invoke(image))
    assert np.array_equal(run_in_child("m", np.roll, np.arange(5), shift=2), [3, 4, 0, 1, 2])


def test_a_crash_in_the_child_is_a_model_file_error() -> None:
    with pytest.raises(ModelFileError, match=r"bad\.tflite: .*SIGABRT"):
        run_in_child(Path("bad.tflite"), os.abort)


def test_errors_of_the_child_come_back_as_they_were() -> None:
    with pytest.raises(ModelFileError, match="TFL3"):
        run_in_child("m", Interpreter, b"\0" * 64)
    with pytest.raises(ValueError, match="not a valid Kernels"):
        run_in_child("m", Kernels, "none")


def test_the_runtime_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, qlvit_edge.inference.interpreter; "
        "print(any(m.startswith(('ai_edge_litert', 'tflite_runtime', 'torch'))"
        " for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_child_does_not_import_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qlvit_edge").mkdir()
    (tmp_path / "qlvit_edge" / "__init__.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert run_in_child("model", abs, -2) == 2
