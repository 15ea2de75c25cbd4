"""What works, and what is said, on a device without torch and the other extras."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from base_environment import BaseEnvironment, make_base_environment
from tiny_metadata import tiny_file

CHECKOUT = Path(__file__).resolve().parents[1]
WORKSTATION = (
    "torch",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "sklearn",
    "matplotlib",
    "safetensors",
    "scipy",
    "imagecodecs",
    "tifffile",
    "captum",
)

DEVICE_PACKAGES = (
    "inference",
    "microscope",
    "measuring",
    "camera",
    "fields",
    "modelfile",
    "integer",
    "bundled",
    "delivery",
    "doctor",
)
DEVICE_MODULES = (
    "preprocess",
    "resample",
    "imagefile",
    "files",
    "errors",
    "cli.run",
    "cli.doctor",
    "cli.predict",
    "cli.validate",
    "cli.validate_merge",
    "cli.inspect",
    "cli.explain",
    "cli.models",
    "evaluation.explanation",
    "evaluation.merged_page",
    "evaluation.validation_page",
    "evaluation.named_models",
    "evaluation.overlay",
)
IMPORT_ALL = """
import importlib, pkgutil, sys
import qlvit_edge
packages, modules, forbidden = (part.split(",") for part in sys.argv[1:])
for name in packages:
    package = importlib.import_module(f"qlvit_edge.{name}")
    for found in pkgutil.walk_packages(package.__path__, f"qlvit_edge.{name}."):
        importlib.import_module(found.name)
for name in modules:
    importlib.import_module(f"qlvit_edge.{name}")
print(sorted(set(forbidden) & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseEnvironment:
    return make_base_environment(tmp_path_factory.mktemp("base environment"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


def test_the_base_environment_lacks_every_extra(base: BaseEnvironment) -> None:
    code = (
        "import importlib.util as u, sys; "
        "print([name for name in sys.argv[1:] if u.find_spec(name)])"
    )
    done = base.code(code, *WORKSTATION)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_package_imports(base: BaseEnvironment) -> None:
    done = base.code("import qlvit_edge, qlvit_edge.converters; print(qlvit_edge.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(base.python.parents[1]))


def test_help_and_version_work(base: BaseEnvironment) -> None:
    for option in ("--help", "--version"):
        done = base.run(option)
        assert done.returncode == 0, done.stderr
        assert "qlvit-edge" in done.stdout


def test_doctor_runs_there(base: BaseEnvironment) -> None:
    done = base.run("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    seen = {one["check"]: one["state"] for one in json.loads(done.stdout)["findings"]}
    assert (seen["model"], seen["golden pairs"], seen["live page"]) == ("ok", "ok", "warning")


@pytest.mark.parametrize(
    "command",
    [
        "doctor",
        "reference",
        "data",
        "train",
        "cost",
        "calibrate",
        "convert",
        "compare",
        "inspect",
        "benchmark",
        "validate",
        "predict",
        "explain",
        "models",
        "run",
    ],
)
def test_every_command_shows_its_help_without_its_extra(
    base: BaseEnvironment, command: str
) -> None:
    done = base.run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout


def test_inspect_works(base: BaseEnvironment, model: Path) -> None:
    done = base.run("inspect", model, "--json")
    assert done.returncode == 0, done.stderr
    assert "CONV_2D" in done.stdout
    assert json.loads(done.stdout)["macs"] > 0


def test_run_works(base: BaseEnvironment, model: Path, tmp_path: Path) -> None:
    fields = next(base.python.parents[1].rglob("bundled/fields"))
    out = tmp_path / "results.sqlite"
    done = base.run(
        "run", model, "--camera", f"simulated:{fields}", "--frames", 2, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(out) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master")]
    database.close()
    assert names


def test_validate_works(base: BaseEnvironment, tmp_path: Path) -> None:
    done = base.run("validate", "blood-nano", "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    for figure in ("Confusion matrix", "ROC, one class", "Reliability", "Latency of one"):
        assert figure in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["accuracy"] > 0.7
    recorded = tmp_path / "report" / "predictions.json"
    given = ("--compare", recorded, "--one-view", "--out", tmp_path / "again")
    done = base.run("validate", "blood-nano", *given)
    assert done.returncode == 0, done.stderr
    assert "agreement: the same bytes as on " in done.stdout


def test_predict_works(base: BaseEnvironment) -> None:
    crops = next(base.python.parents[1].rglob("bundled/crops"))
    done = base.run("predict", crops / "neutrophil", "--model", "blood-nano", "--csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == len(list((crops / "neutrophil").iterdir()))
    assert all(row["label"] and row["verdict"] for row in rows)


def test_explain_works_on_a_models_own_integers(base: BaseEnvironment, tmp_path: Path) -> None:
    crop = sorted(next(base.python.parents[1].rglob("bundled/crops/neutrophil")).iterdir())[0]
    done = base.run("explain", "blood-nano", crop, "--out", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert "note: no Grad-CAM of the checkpoint: qlvit-edge explain: needs torch" in done.stderr
    (entry,) = json.loads((tmp_path / "maps" / "explanations.json").read_text())["images"]
    assert [answer["method"] for answer in entry["answers"]] == ["class map"]
    assert (tmp_path / "maps" / entry["picture"]).stat().st_size > 1000


def test_models_are_listed(base: BaseEnvironment) -> None:
    done = base.run("models", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert {"blood-nano", "blood-tiny"} <= {model["name"] for model in json.loads(done.stdout)}
    assert "parameters" in base.run("models", "show", "blood-nano").stdout
    assert "QLVIT_EDGE_MODELS" in base.run("models", "list").stdout  # installed from no checkout


def test_data_check_works(base: BaseEnvironment) -> None:
    crops = next(base.python.parents[1].rglob("bundled/crops"))
    done = base.run("data", "check", crops)
    assert done.returncode == 0, done.stderr
    assert "usable" in done.stdout


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("train", ["train", "--data", "{d}", "--split", "{m}", "--model", "nano", "--out", "{o}"]),
        ("train", ["cost", "nano"]),
        ("convert", ["calibrate", "{d}", "--data", "{d}"]),
        ("convert", ["convert", "{d}", "--out", "{o}"]),
        ("onnx", ["compare", "{d}"]),
        ("plots", ["benchmark", "{m}", "--plot", "{o}"]),
        ("explain", ["explain", "{d}", "{m}", "--out", "{o}"]),
    ],
)
def test_other_commands_name_the_extra_they_need(
    base: BaseEnvironment, model: Path, tmp_path: Path, extra: str, arguments: list[str]
) -> None:
    places = {"d": tmp_path, "m": model, "o": tmp_path / "out.tflite"}
    done = base.run(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: qlvit-edge {arguments[0]}: needs ")
    assert done.stderr.endswith(f"; pip install 'qlvit-edge[{extra}]'\n")
    assert done.stderr.count("\n") == 1
    assert not places["o"].exists()


def test_device_modules_never_import_the_workstations_packages() -> None:
    # Here, where they are installed, an import would succeed unseen.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORT_ALL,
            ",".join(DEVICE_PACKAGES),
            ",".join(DEVICE_MODULES),
            ",".join(WORKSTATION),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_help_loads_neither_numpy_nor_opencv() -> None:
    code = (
        "import sys, click\n"
        "from qlvit_edge.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'cv2', 'pydantic', 'rich', 'ai_edge_litert'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_wheel_installs_with_pip_and_works(tmp_path: Path, model: Path) -> None:
    """The real thing: build, fresh environment, pip with the constraints, commands."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("qlvit_edge", "converters", "calibration"):
        shutil.copytree(CHECKOUT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    folder = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    constraints = CHECKOUT / "requirements" / "constraints.txt"
    for arguments in (
        ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)],
        ["install", "--quiet", "--constraint", str(constraints)],
    ):
        wheels = [str(wheel) for wheel in tmp_path.glob("*.whl")]
        pip = [str(folder / "bin" / "pip"), *arguments, *wheels]
        subprocess.run(pip, check=True, cwd=tmp_path, env=clean)
    fresh = BaseEnvironment(folder / "bin" / "python")
    assert fresh.code("import torch").returncode == 1
    done = fresh.run("inspect", model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["macs"] > 0
    script = subprocess.run(
        [str(folder / "bin" / "qlvit-edge"), "--help"], capture_output=True, text=True, check=True
    )
    assert "Commands" in script.stdout
