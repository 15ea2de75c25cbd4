"""The configuration file of a run: run's own options, checked by run's own checks."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import click
import cv2
import pytest
from click.testing import CliRunner
from command import files_below, refused, run_command
from pages import ROOT
from tiny_metadata import plain_image, tiny_file

from qlvit_edge.cli.config import command as config
from qlvit_edge.cli.run import command as run
from qlvit_edge.cli.suggestions import suggesting
from qlvit_edge.configuration import last_good
from qlvit_edge.configuration.document import read_document
from qlvit_edge.configuration.example import example_of
from qlvit_edge.configuration.keys import keys_of
from qlvit_edge.errors import ConfigurationError

EXAMPLE = ROOT / "firmware_scripts" / "run.toml"
KEYS = keys_of(suggesting(run))
VALUES: dict[str, Any] = {
    "model": "m.tflite", "camera": "usb:0", "calibration": "c.json", "out": "r.sqlite",
    "frames": 7, "stop-at": 100, "analyser": "neutrophil=60,other=40", "save": "s",
    "cell-size": 0.25, "find": "all", "count-once": False, "sample": "S-1", "operator": "Ann",
    "keep": "k", "accept-at": 1, "threads": 3, "delegate": "libedgetpu.so.1",
    "delegate-option": ["device=usb:1", "verbosity=2"],
    "kernels": "builtin", "runtime": "tflite-runtime", "white-level": 4095,
    "allow-operators": "CONV_2D,ADD", "any-operator": True, "model-memory": 700,
    "model-seconds": 2.5, "serve": "127.0.0.1:8400", "stay": True, "json": True,
}  # fmt: skip


def toml(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    """What a file must say, of a model and a folder that are there."""
    folder = tmp_path / "dots"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), plain_image("RED", size=16))
    model = tiny_file(tmp_path / "tiny.tflite")
    out = tmp_path / "r.sqlite"
    return {"model": str(model), "camera": str(folder), "out": str(out), "find": "none"}


@pytest.fixture
def file(tmp_path: Path, good: dict[str, Any]) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(toml(good))
    path.chmod(0o644)
    return path


def test_everything_that_run_takes_is_a_key() -> None:
    context = click.Context(run, help_option_names=[])
    names = {option.name for option in run.get_params(context)} - {"config", "help"}
    assert {key.field for key in KEYS.values()} == names


def test_an_option_that_is_added_is_a_key_by_itself(tmp_path: Path) -> None:
    @click.command("run")
    @click.option("--frames", type=click.IntRange(min=1))
    @click.option("--zoom-in/--zoom-out", default=None)
    def added(**options: Any) -> None:
        """Do nothing."""

    path = tmp_path / "a.toml"
    path.write_text("zoom-in = false\n")
    assert read_document(path, added).values == {"zoom_in": False}
    path.write_text('zoom-in = "no"\n')
    with pytest.raises(ConfigurationError, match="zoom-in: true or false is needed here"):
        read_document(path, added)
    assert "#zoom-in = true" in example_of(added, {"frames": 3}, "head")


def test_an_option_that_may_be_repeated_is_a_list(tmp_path: Path) -> None:
    @click.command("run")
    @click.option("--told", multiple=True, metavar="NAME=VALUE")
    def added(**options: Any) -> None:
        """Do nothing."""

    path = tmp_path / "a.toml"
    path.write_text('told = ["device=usb:1", "speed=max"]\n')
    assert read_document(path, added).values == {"told": ("device=usb:1", "speed=max")}
    for wrong in ('"device=usb:1"', "[1]", '["a", ["b"]]', '["\\u0000"]'):
        path.write_text(f"told = {wrong}\n")
        with pytest.raises(ConfigurationError, match=r"told: (a list of texts|no text)"):
            read_document(path, added)
    assert '#told = ["NAME=VALUE"]' in example_of(added, {}, "head")
    path.write_text('told = ["at=http://ann:secret@host/"]\n')
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="told: holds a password"):
        read_document(path, added)


def test_an_option_of_several_values_is_not_passed_over() -> None:
    @click.command()
    @click.option("--pair", nargs=2)
    def added(**options: Any) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="pair takes several values"):
        keys_of(added)


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("certificate", "key")])
def test_a_key_means_what_the_option_means(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command, value = suggesting(run), VALUES[name]
    path = tmp_path / "run.toml"
    path.write_text(toml({"model": "m", "camera": "c", "out": "o", name: value}))
    said = ["m", "--camera=c", "--out=o"]
    if name == "model":
        said[0] = value
    elif KEYS[name].kind == "true or false":
        said.append(f"--{name}" if value else f"--no-{name}")
    else:
        said += [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]
    with command.make_context("run", said) as context:
        expected = dict(context.params)
    with command.make_context("run", ["--config", str(path)]) as context:
        assert dict(context.params) == {**expected, "config": path}


BAD = {
    "thread = 2": "there is no key 'thread', did you mean 'threads'?",
    "--threads = 2": "there is no key '--threads', did you mean 'threads'?",
    "cell_size = 0.2": "there is no key 'cell_size', did you mean 'cell-size'?",
    "[run]\nthreads = 2": "there is no key 'run'",
    'config = "other.toml"': "there is no key 'config'",
    "help = true": "there is no key 'help'",
    'threads = "2"': "threads: a whole number is needed here, not a text in quotes",
    "threads = true": "threads: a whole number is needed here, not true",
    "threads = 2.0": "threads: a whole number is needed here, not a number",
    "threads = 0": "threads: 0 is not in the range x>=1",
    "frames = 99999999999": "frames: 1e\\+11 is more than 2147483647",
    "frames = 99999999999999999999": "frames: a number of TOML has 64 bits",
    "model-seconds = 1" + "0" * 400: "model-seconds: a number of TOML has 64 bits",
    "cell-size = nan": "cell-size: nan is not a finite number",
    "accept-at = 1.5": "accept-at: 1.5 is not in the range",
    "accept-at = false": "accept-at: a number is needed here, not false",
    "sample = 5": "sample: a text is needed here, not a whole number",
    'sample = ""': "sample: is empty",
    'save = "a\\u0000b"': "save: no text of an option holds a null character",
    "save = ['a']": "save: a text is needed here, not a list",
    "operator = 1979-05-27": "operator: a text is needed here, not a date or time",
    "stay = 'yes'": "stay: true or false is needed here, not a text in quotes",
    "serve = false": "serve: a text or true is needed here, not false",
    'kernels = "bultin"': "kernels: 'bultin' is not one of .* did you mean 'builtin'?",
    'allow-operators = "CONV_2"': "allow-operators: 'CONV_2' is not an operator",
    "white-level = 70000": "white-level: 70000 is not in the range",
    "threads = 2\nthreads = 3": "not valid TOML .*line 6",
    "threads": "not valid TOML .*line 5",
    'key = "k.pem"': "key: File 'k.pem' does not exist",
    "stay = true": "--stay is the page's: add --serve",
}
"""Lines that a file must not have, and what is said of them."""


@pytest.mark.parametrize("line", BAD)
def test_a_wrong_line_is_refused_with_file_key_and_remedy(
    line: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"{file.read_text()}{line}\n")
    before = files_below(file.parent)
    said = refused(capfd, "config", "check", file)
    assert re.match(rf"error: {re.escape(str(file))}: .*{BAD[line]}", said)
    if not line.startswith("stay = true"):  # what does not go together, a run says itself
        assert refused(capfd, "run", "--config", file) == said
    assert files_below(file.parent) == before


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        ("model", "blod-nano", "blod-nano: no such model file; .*did you mean 'blood-nano'"),
        ("model", "{file}", "run.toml: "),
        ("camera", "usb:x", "usb:x: 'x' is not a number"),
        ("camera", "/nowhere/at/all", "no such camera, file or folder"),
        ("calibration", "missing.json", "missing.json"),
        ("out", "/nowhere/r.sqlite", "its folder does not exist"),
        ("out", "{file}", "it is not a results file"),
        ("serve", "300.1.1.1:99999", ""),
        ("camera", None, "camera: is missing"),
        ("model", None, "model: is missing"),
    ],
)
def test_what_a_run_could_not_begin_with_is_refused(
    key: str,
    value: str | None,
    finding: str,
    file: Path,
    good: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    left = {name: one for name, one in good.items() if name != key}
    if value is not None:
        left[key] = value.format(file=file)
    file.write_text(toml(left))
    said = refused(capfd, "config", "check", file)
    assert re.match(rf"error: {re.escape(str(file))}: .*{finding}", said)


@pytest.mark.parametrize("what", ["missing", "folder", "latin"])
def test_what_is_no_file_of_text_is_refused(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.toml"
    if what == "folder":
        path.mkdir()
    elif what == "latin":
        path.write_bytes(b'sample = "M\xfcller"\n')
    refused(capfd, "config", "check", path)
    refused(capfd, "run", "--config", path)


def test_the_command_line_wins_over_the_file(file: Path, good: dict[str, Any]) -> None:
    file.write_text(toml({**good, "frames": 4, "json": True}))
    done = CliRunner().invoke(run, ["--config", str(file)], catch_exceptions=False)
    assert json.loads(done.stdout)["frames"] == 4
    done = CliRunner().invoke(run, ["--config", str(file), "--frames", "2"], catch_exceptions=False)
    assert json.loads(done.stdout)["frames"] == 2


def test_every_value_is_shown_with_where_it_comes_from(
    file: Path, good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLVIT_EDGE_MODEL_SECONDS", "9")
    file.write_text(toml({**good, "model-seconds": 5, "white-level": 4095}))
    shown = json.loads(CliRunner().invoke(config, ["show", "--json", str(file)]).stdout)
    assert list(shown) == list(KEYS)
    assert shown["model-seconds"] == {"value": 9.0, "from": "environment"}
    assert shown["white-level"] == {"value": 4095, "from": "file"}
    assert shown["threads"] == {"value": 1, "from": "default"}


def test_a_password_is_neither_shown_nor_left_to_everybody(
    file: Path, good: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(toml({**good, "camera": "http://ann:secret@camera.local/video"}))
    said = refused(capfd, "config", "check", file)
    assert "camera: holds a password or token, and every user may read the file; chmod o-r" in said
    assert "secret" not in said
    refused(capfd, "run", "--config", file)
    file.chmod(0o640)
    assert run_command("config", "check", file) == 0
    assert run_command("config", "show", file) == 0
    assert run_command("config", "show", "--json", file) == 0
    out = capfd.readouterr().out
    assert "secret" not in out
    assert "http://***@camera.local/video" in out


def test_a_file_that_everybody_may_change_is_refused(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.chmod(0o646)
    assert "may change it; chmod o-w" in refused(capfd, "config", "check", file)


def test_a_bad_file_leaves_the_last_good_one(
    file: Path, good: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "good" / "run.toml"
    copy.parent.mkdir()
    assert run_command("config", "apply", file, "--good", copy) == 0
    first = copy.read_bytes()
    assert first == file.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    file.write_text(toml({**good, "threads": 0}))
    refused(capfd, "config", "apply", file, "--good", copy)
    file.unlink()
    refused(capfd, "config", "apply", file, "--good", copy)
    assert copy.read_bytes() == first
    file.write_text(toml({**good, "model": str(tmp_path / "no-such.tflite")}))
    refused(capfd, "config", "apply", file, "--good", copy)
    assert copy.read_bytes() == first
    assert files_below(copy.parent) == {"run.toml"}
    file.write_text(toml({**good, "threads": 2}))
    assert run_command("config", "apply", file, "--good", copy) == 0
    assert tomllib.loads(copy.read_text())["threads"] == 2
    assert run_command("config", "apply", file, "--good", copy) == 0
    assert "says the same already" in capfd.readouterr().out


def test_a_full_disk_leaves_the_last_good_one(
    file: Path, good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = read_document(file, suggesting(run))
    copy = tmp_path / "good.toml"
    last_good.keep_as_good(document, copy)
    file.write_text(toml({**good, "threads": 2}))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        last_good.keep_as_good(read_document(file, suggesting(run)), copy)
    assert copy.read_bytes() == document.content


def test_the_example_is_whole_valid_and_the_one_that_is_shipped(tmp_path: Path) -> None:
    shown = CliRunner().invoke(config, ["example"]).stdout
    assert EXAMPLE.read_text("utf-8") == shown, "config example >firmware_scripts/run.toml"
    path = tmp_path / "run.toml"
    path.write_text(shown, "utf-8")
    document = read_document(path, suggesting(run))
    assert {"model", "source", "out", "serve"} == set(document.values)
    everything = tomllib.loads(re.sub(r"(?m)^#(?=[a-z-]+ = )", "", shown))
    assert list(everything) == list(KEYS)
    for name, value in everything.items():
        KEYS[name].stated(value)
