"""`qlvit-edge doctor` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from base_environment import make_base_environment
from command import refused, run_command

from qlvit_edge.bundled import FIELDS
from qlvit_edge.cli.doctor import _say_next
from qlvit_edge.doctor.examination import CHECKS
from qlvit_edge.doctor.finding import Finding

QUICK = tuple(check for check in CHECKS if check.name in ("python", "results folder", "camera"))


def test_the_bundled_model_on_this_device(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r.sqlite"
    assert run_command("doctor", "--out", results, "--camera", FIELDS, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["format"], said["passed"]) == (1, True)
    seen = {one["check"]: one for one in said["findings"]}
    assert {one.name for one in CHECKS} <= set(seen)
    for name in ("runtime", "model", "kernels", "golden pairs", "self-test", "camera"):
        assert seen[name]["state"] == "ok", seen[name]
    for one in said["findings"]:
        assert list(one) == ["check", "state", "text", "remedy"]
        assert one["state"] in ("ok", "warning", "fail", "not checked")
        assert one["text"]
    assert list(tmp_path.iterdir()) == []


def test_lines_in_a_pipe_and_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.doctor.examination.examine.__defaults__", (QUICK,))
    assert run_command("doctor", "--out", tmp_path / "r.sqlite") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line[:12].strip() for line in lines[:3]] == ["ok", "not checked", "ok"]
    assert lines[-2:] == [
        "2 ok, 0 warning, 0 FAIL, 1 not checked",
        "next: qlvit-edge run blood-nano --camera SOURCE --out results.sqlite",
    ]
    assert run_command("doctor", "--out", tmp_path / "gone" / "r.sqlite") == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[2].startswith("FAIL        results folder: ")
    assert lines[2].endswith(f"; mkdir -p {tmp_path / 'gone'}")


def test_a_password_is_not_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.doctor.examination.examine.__defaults__", (QUICK,))
    assert run_command("doctor", "--camera", "http://ann:geheim@127.0.0.1:9/x") == 1
    said = capfd.readouterr()
    assert "geheim" not in said.out + said.err
    assert "***@127.0.0.1" in said.out
    _say_next([Finding("camera", "ok", "frames")], "blood-nano", "http://ann:geheim@127.0.0.1:9/x")
    said = capfd.readouterr()
    assert "geheim" not in said.out
    assert "***@127.0.0.1" in said.out


@pytest.mark.parametrize(
    "words",
    [
        ("nosuch.tflite",),
        ("--camera", "nonsense"),
        ("--camera", "usb:x"),
        ("--camera", "gone/film.mp4"),
    ],
)
def test_bad_input(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert words[-1].rpartition("/")[2] in refused(capfd, "doctor", *words)


def test_hours_must_be_a_number() -> None:
    for hours in ("0", "-1", "nan", "x"):
        assert run_command("doctor", "--hours", hours) == 2


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """Neither runtime nor OpenCV, which every second module imports."""
    base = make_base_environment(tmp_path / "base")
    for package in base.python.parents[1].glob("lib/*/site-packages/ai_edge_litert*"):
        package.unlink()
    for package in base.python.parents[1].glob("lib/*/site-packages/cv2"):
        package.unlink()
    done = base.run("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Traceback" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    failed = {line.split(":")[0].removeprefix("FAIL").strip() for line in lines}
    assert {"packages", "runtime", "model"} <= failed
    assert any("pip install" in line for line in lines)
