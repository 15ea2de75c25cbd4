"""`convert --route onnx2tf` around the other environment: found, limited in time, judged.

The other environment is played by small programs; the real one is `make test-onnx2tf`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import files_below, refused, run_command
from python_program import python_program
from small_run import small_config, write_folder, write_run

from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.converters.idioms.numerics import Float
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.routes import environment, onnx2tf, onnx2tf_worker
from qlvit_edge.converters.routes.closeness import Bound
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.training.checkpoint import load_checkpoint

ROUTE = ("--route", "onnx2tf", "--images", 8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stock")
    write_run(root / "cells", write_folder(root / "data", 6), small_config())
    return root / "cells"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def _program(path: Path, text: str) -> Path:
    """An executable Python program that answers the probe like a complete environment."""
    probe = "import json, os, sys, time\nif '-c' in sys.argv: print(); sys.exit()\n"
    return python_program(path, probe + text)


def _files(run: Path, folder: Path) -> Path:
    """The float file of the network, for programs that pretend to have made it."""
    network = load_checkpoint(run).network
    (folder / "right.tflite").write_bytes(write_tflite(lower(network, Writer("f", Float()))))
    return folder


_RESULT = """
formats = ("float32", "float16", "dynamic-range", "full-integer")
def write(contents, errors={}):
    for name in formats:
        if contents.get(name) is not None:
            open(name + ".tflite", "wb").write(contents[name])
    entries = {name: {"seconds": 1.5, "error": errors.get(name)} for name in formats}
    json.dump({"formats": entries, "versions": {}}, open("result.json", "w"))
"""


def test_without_an_environment_the_line_says_how_to_make_one(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "convert", run, *ROUTE, "--out", tmp_path / "out")
    assert "needs an environment with TensorFlow, there is none here" in line
    assert "make onnx2tf-env" in line
    assert "--python or QLVIT_EDGE_ONNX2TF_PYTHON" in line
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("missing/python", "does not start (no such file or directory)"),
        ("text", "does not start (permission denied)"),
        ("garbage", "does not start (exec format error)"),
        (sys.executable, "has no onnx2tf and no tensorflow"),
        ("/bin/false", "is no working Python (exit 1)"),
    ],
)
def test_a_python_that_will_not_do_is_named(
    name: str, finding: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    line = refused(capfd, "convert", run, *ROUTE, "--out", tmp_path / "o", "--python", name)
    assert f"{tmp_path / name}: {finding}" in line or f"{name}: {finding}" in line
    assert not (tmp_path / "o").exists()


def test_the_environment_is_found_by_option_then_variable_then_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = _program(tmp_path / ".venv-onnx2tf" / "bin" / "python", "")
    assert environment.find_python(None) == beside
    variable = _program(tmp_path / "variable", "")
    monkeypatch.setenv(environment.VARIABLE, str(variable))
    assert environment.find_python(None) == variable
    named = _program(tmp_path / "named", "")
    assert environment.find_python(named) == named


def test_one_that_never_ends_is_ended_with_all_it_started(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started = tmp_path / "started"
    program = _program(
        tmp_path / "sleeper",
        f"import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(started)!r}, 'w').write(str(child.pid))\nprint('step 1', flush=True)\n"
        "time.sleep(60)\n",
    )
    monkeypatch.setattr(onnx2tf, "TIME_LIMIT", 2.0)
    out = tmp_path / "out"
    line = refused(capfd, "convert", run, *ROUTE, "--out", out, "--python", program)
    assert "route onnx2tf: onnx2tf did not end within 2 s: step 1" in line
    assert files_below(out) == {"cells-onnx2tf.log"}
    for _ in range(50):
        status = Path(f"/proc/{started.read_text()}/status")
        if not status.exists() or "(zombie)" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("its child still runs")


def test_a_crash_quotes_the_last_lines_and_keeps_the_log(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = _program(
        tmp_path / "crasher", "print('\\x1b[31mloading')\nprint('out of luck')\nsys.exit(3)\n"
    )
    out = tmp_path / "out"
    line = refused(capfd, "convert", run, *ROUTE, "--out", out, "--python", program)
    assert "onnx2tf failed (exit code 3)" in line
    assert "out of luck" in line
    assert "\x1b" not in line
    assert "out of luck" in (out / "cells-onnx2tf.log").read_text()


def test_success_without_files_is_no_success(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = _program(tmp_path / "liar", "print('done')\n")
    line = refused(capfd, "convert", run, *ROUTE, "--out", tmp_path / "o", "--python", program)
    assert "onnx2tf failed (exit code 0): done" in line


def test_right_files_are_written_and_wrong_ones_refused_by_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """float32 damaged, float16 right, dynamic-range another network, full-integer an error.

    Our own float file plays the right one. It leaves activations unrounded, hence the bound.
    """
    monkeypatch.setitem(onnx2tf.BOUNDS, "float16", Bound(0.5, 1.0, 0.75))
    from small_run import settled_network

    folder = _files(run, tmp_path)
    other = settled_network(small_config(), seed=5)
    (folder / "other.tflite").write_bytes(write_tflite(lower(other, Writer("f", Float()))))
    program = _program(
        tmp_path / "maker",
        f"{_RESULT}\nright = open({str(folder / 'right.tflite')!r}, 'rb').read()\n"
        f"other = open({str(folder / 'other.tflite')!r}, 'rb').read()\n"
        "write({'float32': right[:5000], 'float16': right, 'dynamic-range': other},"
        " {'full-integer': 'op not supported\\nby TFLite'})\n",
    )
    out, report = tmp_path / "out", tmp_path / "report.json"
    arguments = (*ROUTE, "--out", out, "--python", program, "--report", report)
    line = refused(capfd, "convert", run, *arguments, code=1)
    assert "float32 and dynamic-range and full-integer not written" in line
    assert files_below(out) == {"cells-float16.tflite"}
    assert (out / "cells-float16.tflite").read_bytes() == (folder / "right.tflite").read_bytes()
    formats = json.loads(report.read_text())["formats"]
    assert formats["float16"]["failure"] is None
    assert set(formats["float16"]["kernels"]) == {"auto", "builtin", "reference"}
    assert formats["full-integer"]["failure"] == "op not supported by TFLite"
    assert "auto kernels: off by" in formats["dynamic-range"]["failure"]
    assert "builtin kernels: off by" in formats["dynamic-range"]["failure"]


def test_the_program_gets_network_images_and_nothing_of_ours(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded calibration images, raw pixels; a sample that keeps onnx2tf off the network."""
    assert run_command("calibrate", run, "--images", 6) == 0
    seen = tmp_path / "seen.json"
    program = _program(
        tmp_path / "looker",
        "seen = [sys.argv[1:], sorted(os.listdir()), sys.stdin.read(), "
        "os.environ['PATH'].split(':')[0], 'PYTHONPATH' in os.environ]\n"
        f"json.dump(seen, open({str(seen)!r}, 'w'))\n"
        "import shutil\nshutil.copy('calibration.npy', '" + str(tmp_path) + "')\nsys.exit(1)\n",
    )
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert run_command("convert", run, *ROUTE, "--out", tmp_path / "o", "--python", program) == 2
    arguments, names, given, path, with_ours = json.loads(seen.read_text())
    assert arguments == ["-I", onnx2tf_worker.__file__, "network.onnx", "calibration.npy"]
    assert "calibration_image_sample_data_20x128x128x3_float32.npy" in names
    assert given == ""
    assert path == str(tmp_path)
    assert not with_ours
    images = np.load(tmp_path / "calibration.npy")
    recorded = json.loads((run / "calibration.json").read_text())["images"]
    assert images.shape == (len(recorded), 64, 64, 3)
    assert images.dtype == np.float32
    assert images.max() > 100


def test_without_recorded_images_the_bundled_crops_stand_in(run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run)
    views, origin = onnx2tf.calibration_views(
        checkpoint, lambda: calibration_of(checkpoint), tmp_path / "elsewhere"
    )
    assert origin == f"the {len(views)} bundled crops"


def test_the_worker_asks_for_each_format_and_reports_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker itself, with onnx2tf and TensorFlow played by stand-ins."""
    asked: list[SimpleNamespace] = []

    class Converter(SimpleNamespace):
        def convert(self) -> bytes:
            asked.append(self)
            if hasattr(self, "representative_dataset"):
                assert len(list(self.representative_dataset())) == 2
                raise RuntimeError("no int8 kernel\nfor FLOOR")
            return b"file"

    def from_saved_model(_: str) -> Converter:
        return Converter(target_spec=SimpleNamespace())

    lite: Any = SimpleNamespace(
        TFLiteConverter=SimpleNamespace(from_saved_model=from_saved_model),
        Optimize=SimpleNamespace(DEFAULT="default"),
        OpsSet=SimpleNamespace(TFLITE_BUILTINS_INT8="int8"),
    )
    fake = SimpleNamespace(lite=lite, float16="float16", uint8="uint8", int8="int8")
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setitem(sys.modules, "onnx2tf", SimpleNamespace(convert=lambda **_: None))
    monkeypatch.setattr(onnx2tf_worker, "version", lambda _: "1")
    np.save(tmp_path / "calibration.npy", np.zeros((2, 4, 4, 3), np.float32))
    onnx2tf_worker.main("network.onnx", "calibration.npy")
    formats = json.loads((tmp_path / "result.json").read_text())["formats"]
    assert formats["full-integer"]["error"] == "no int8 kernel"
    assert (tmp_path / "float16.tflite").read_bytes() == b"file"
    assert asked[1].target_spec.supported_types == ["float16"]
    assert [hasattr(each, "optimizations") for each in asked] == [False, True, True, True]
    assert (asked[3].inference_input_type, asked[3].inference_output_type) == ("uint8", "int8")
