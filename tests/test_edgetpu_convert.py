"""`convert --target edgetpu` writes a proven chain or nothing; the chain runs everywhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
from pathlib import Path

import fake_edgetpu_compiler as fake
import numpy as np
import pytest
from command import files_below, refused, run_command
from small_run import cell_image, small_config, write_folder, write_run

from qlvit_edge import bundled
from qlvit_edge.inference.chain import ChainInterpreter, open_model
from qlvit_edge.modelfile.chain import read_chain

# The small network has random weights: what integers cost it says nothing.
OPTIONS = ("--target", "edgetpu", "--max-drop", 100, "--images", 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("edgetpu")
    write_run(root / "cells", write_folder(root / "data", 5), small_config())
    assert run_command("calibrate", root / "cells", "--images", 8) == 0
    return root / "cells"


@pytest.fixture(scope="module")
def chain(run: Path) -> Path:
    """A chain made without a compiler, its report beside it."""
    out = run.parent / "out" / "cells.chain"
    report = out.with_name("proof.json")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("PATH", str(run))
        assert run_command("convert", run, "--out", out, "--report", report, *OPTIONS) == 0
    assert "note: segments not compiled: mapping and memory are a forecast" in printed.getvalue()
    return out


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = fake.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def test_the_report_says_what_was_cut_and_proved(chain: Path) -> None:
    assert files_below(chain.parent) == {"cells.chain", "proof.json"}
    report = json.loads(chain.with_name("proof.json").read_text())["edgetpu"]
    description = read_chain(chain.read_bytes()).description
    assert report["compiler"] is None
    assert report["round_trips"] == description.round_trips
    assert report["all_macs_on_tpu"]["round_trips"] == 5
    assert report["round_trips"] < 5
    assert len(report["moved_to_cpu"]) == len(description.moved_to_cpu) > 0
    assert report["tpu_macs_share"] >= 0.85
    assert report["tpu_macs_share"] == description.tpu_macs_share
    assert report["equality"]["reference_equal"]
    assert report["equality"]["default_images"] > 0
    assert report["equality"]["borders"] == len(description.borders)
    assert sum(s["macs"] for s in report["segments"] if s["device"] == "tpu") == pytest.approx(
        report["tpu_macs_share"] * sum(s["macs"] for s in report["segments"])
    )


def test_the_compiler_gets_all_segments_at_once(
    run: Path,
    tmp_path: Path,
    compiler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", "unmapped")
    out, report = tmp_path / "c.chain", tmp_path / "proof.json"
    assert run_command("convert", run, "--out", out, "--report", report, *OPTIONS) == 0
    found = json.loads(report.read_text())["edgetpu"]["compiler"]
    description = read_chain(out.read_bytes()).description
    on_tpu = [segment for segment in description.segments if segment.device == "tpu"]
    assert len(found["models"]) == len(on_tpu)
    assert all(segment.compiled for segment in on_tpu)
    assert [m["operations"] for m in found["models"]] == [s.operators for s in on_tpu]
    output = capfd.readouterr().out
    assert "edgetpu_compiler 16.0.384591198" in output
    assert "More than one subgraph is not supported" in output
    assert "not compiled" not in output


def test_a_compiler_that_fails_leaves_nothing(
    run: Path,
    tmp_path: Path,
    compiler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", "fail")
    target = tmp_path / "out"
    line = refused(capfd, "convert", run, "--out", target / "c.chain", *OPTIONS)
    assert "edgetpu_compiler: it failed" in line
    assert "large activation tensors" in line
    assert files_below(target) == set()


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (("--tpu-share", 90), "--tpu-share: belongs to --target edgetpu"),
        (("--no-compile",), "--no-compile: belongs to --target edgetpu"),
        (("--compiler-timeout", 9), "--compiler-timeout: belongs to --target edgetpu"),
        (("--route", "onnx", "--target", "edgetpu"), "--target: belongs to --route native"),
    ],
)
def test_options_of_another_target_are_refused(
    run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    finding: str,
) -> None:
    assert finding in refused(capfd, "convert", run, "--out", tmp_path / "c", *options)


def test_validate_and_run_take_the_chain(run: Path, chain: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    for kernels in ("auto", "reference"):
        arguments = ("--data", run.parent / "data", "--kernels", kernels, "--out", report)
        assert run_command("validate", chain, *arguments) == 0
        figures = json.loads((report / "report.json").read_text())
        assert figures["golden"]["passed"] is True
    assert figures["model"]["integer_only"]
    assert "all on the CPU" in figures["kernels"]["used"]
    results = tmp_path / "r.sqlite"
    source = bundled.FIELDS
    assert run_command("run", chain, "--camera", source, "--out", results, "--frames", 2) == 0
    with sqlite3.connect(results) as base:
        assert base.execute("SELECT count(*) FROM cells").fetchone()[0] > 0


def test_inspect_lists_the_segments(chain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("inspect", chain) == 0
    output = capfd.readouterr().out
    for text in ("00-tpu.tflite", "01-cpu.tflite", "host round trips", "a forecast"):
        assert text in output
    assert run_command("inspect", chain, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert all(
        segment["mapped_operators"] == segment["operators"]
        for segment in found["segments"]
        if segment["device"] == "tpu"
    )


def test_a_damaged_chain_is_one_line(
    chain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.chain"
    cut.write_bytes(chain.read_bytes()[:5000])
    for command in (
        ("inspect", cut),
        ("run", cut, "--camera", bundled.FIELDS, "--out", tmp_path / "r.sqlite"),
        ("validate", cut, "--data", bundled.CROPS, "--out", tmp_path / "v"),
    ):
        assert "archive is damaged" in refused(capfd, *command)


def test_the_chain_gives_the_classes_of_its_golden_pairs(chain: Path) -> None:
    content = chain.read_bytes()
    loaded = open_model(content)
    assert isinstance(loaded, ChainInterpreter)
    height, width = read_chain(content).description.model.input_size
    view = np.zeros((height, width, 3), np.uint8)
    view[:60, :60] = cell_image(0, 0)[:60, :60]
    assert loaded.invoke(view).shape == (1, 4)
