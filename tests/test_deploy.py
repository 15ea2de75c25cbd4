"""`deploy` to a real `sshd`: copied, installed, validated there, and brought back or undone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import refused, run_command
from ssh_server import SSHD, SshServer, cut_after, free_port, ssh_server

from qlvit_edge import bundled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the private key of the laboratory."""
    folder = tmp_path_factory.mktemp("keys")
    assert run_command("models", "keys", "new", "lab", "--out", folder) == 0
    return folder


@pytest.fixture
def device(tmp_path: Path, keys: Path) -> Iterator[SshServer]:
    """A device that trusts the laboratory."""
    trusted = tmp_path / "trusted"
    trusted.mkdir(mode=0o755)
    shutil.copy(keys / "lab.pem", trusted)
    places = {"QLVIT_EDGE_STORE": str(tmp_path / "store"), "QLVIT_EDGE_KEYS": str(trusted)}
    with ssh_server(tmp_path / "device", OMP_NUM_THREADS="1", **places) as running:
        yield running


@pytest.fixture
def bundle(keys: Path, tmp_path: Path) -> Path:
    return signed(keys, tmp_path / "blood 1.qlvit", "1.0.0")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of each of two classes, in folders whose names a shell would take apart."""
    folder = tmp_path / "a lab's images"
    for name in ("lymphocyte", "neutrophil"):
        (folder / name).mkdir(parents=True)
        for number, path in enumerate(sorted((bundled.CROPS / name).glob("*.png"))[:3]):
            shutil.copy(path, folder / name / f"{number} $(touch x);é.png")
    return folder


def signed(keys: Path, out: Path, version: str, *, model: str = "blood-nano") -> Path:
    path = bundled.FOLDER / model / f"{model}.tflite"
    sign = ("models", "sign", path, "--key", keys / "lab.key", "--version", version, "--out", out)
    assert run_command(*sign) == 0
    return out


def deploy(device: SshServer, bundle: Path, *options: object) -> int:
    return run_command("deploy", device.address, bundle, *device.options, *options)


def answers(path: Path) -> object:
    return json.loads(path.read_bytes())["images"]


def active(device: SshServer, tmp_path: Path) -> str | None:
    """The version that the device uses."""
    state = json.loads((tmp_path / "store" / "state.json").read_bytes())
    found = state["slots"][state["active"]] if state["active"] else None
    version: str | None = None if found is None else found["version"]
    return version


def test_a_model_is_installed_and_validated_there(
    device: SshServer,
    bundle: Path,
    images: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here, out = tmp_path / "here", tmp_path / "from the device"
    assert run_command("validate", "blood-nano", "--data", images, "--out", here) == 0
    capfd.readouterr()
    compare = here / "predictions.json"
    code = deploy(device, bundle, "--validate", images, "--out", out, "--compare", compare)
    said = capfd.readouterr()
    assert code == 0, said.err
    assert "installed: blood-nano 1.0.0 in slot a, signed by lab" in said.out
    assert "6 images: " in said.out
    assert "verdict: may be used with reservations: " in said.out
    report = json.loads((out / "report.json").read_bytes())
    assert report["agreement"]["exact"]
    assert report["agreement"]["compared"] > 0
    assert answers(out / "predictions.json") == answers(compare)
    assert "<html" in (out / "index.html").read_text(encoding="utf-8")
    assert not list(device.home.rglob("x"))
    assert not list((device.home / ".cache/qlvit-edge/deploy").glob("*.tar"))
    # Again: nothing is installed twice.
    assert deploy(device, bundle) == 0
    assert "already installed: blood-nano 1.0.0" in capfd.readouterr().out


def test_a_cut_copy_is_gone_on_with(
    device: SshServer, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The same address, so that the host key is known, but cut in the middle of the copy.
    staging = device.home / ".cache/qlvit-edge/deploy"
    with cut_after(device.port, 300_000, lambda: staging.glob("*")) as port:
        known = tmp_path / "known"
        text = device.known_hosts.read_text()
        known.write_text(text.replace(str(device.port), str(port)))
        options = ("--port", port, "--identity", device.identity, "--known-hosts", known)
        line = refused(capfd, "deploy", device.address, bundle, *options)
    assert "the connection was lost" in line
    assert "it goes on where it stopped" in line
    staged = list(staging.iterdir())
    assert len(staged) == 1
    assert 0 < staged[0].stat().st_size < bundle.stat().st_size
    assert deploy(device, bundle) == 0
    assert "copied from 0." in capfd.readouterr().out
    assert active(device, tmp_path) == "1.0.0"


def test_what_was_altered_on_the_way_is_copied_anew(
    device: SshServer, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = device.home / ".cache/qlvit-edge/deploy"
    folder.mkdir(parents=True)
    name = f"{hashlib.sha256(bundle.read_bytes()).hexdigest()}.qlvit"
    (folder / name).write_bytes(b"something else")
    assert deploy(device, bundle) == 0
    assert active(device, tmp_path) == "1.0.0"


def test_a_model_that_may_not_be_used_is_taken_back(
    device: SshServer,
    bundle: Path,
    keys: Path,
    images: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert deploy(device, bundle) == 0
    newer = signed(keys, tmp_path / "newer.qlvit", "1.1.0", model="wbc-nano")
    wrong = tmp_path / "wrong"
    shutil.copytree(images, wrong)
    (wrong / "lymphocyte").rename(wrong / "other")
    (wrong / "neutrophil").rename(wrong / "lymphocyte")
    (wrong / "other").rename(wrong / "neutrophil")
    out = tmp_path / "report"
    options = ("--validate", wrong, "--out", out, "--min-accuracy", "90")
    line = refused(capfd, "deploy", device.address, newer, *device.options, *options, code=1)
    assert "the model may not be used there (may not be used: 0.00 % of 6 images right" in line
    assert "the model before it is in use again" in line
    assert active(device, tmp_path) == "1.0.0"
    assert json.loads((out / "report.json").read_bytes())["verdict"]["failures"]


def test_a_device_that_does_not_trust_the_key_takes_nothing(
    device: SshServer, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other keys"
    assert run_command("models", "keys", "new", "stranger", "--out", other) == 0
    foreign = signed_by(other / "stranger.key", tmp_path / "foreign.qlvit")
    line = refused(capfd, "deploy", device.address, foreign, *device.options)
    assert "models install failed there" in line
    assert not (tmp_path / "store" / "state.json").exists()


def signed_by(key: Path, out: Path) -> Path:
    path = bundled.FOLDER / "blood-nano" / "blood-nano.tflite"
    assert run_command("models", "sign", path, "--key", key, "--version", "9.0", "--out", out) == 0
    return out


def test_a_device_without_the_program(
    device: SshServer, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = (*device.options, "--program", "/opt/no such program")
    line = refused(capfd, "deploy", device.address, bundle, *options)
    assert "has no /opt/no such program" in line
    assert "install.sh" in line


def test_what_is_wrong_here_is_said_before_anything_is_sent(
    bundle: Path, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = "--port", free_port(), "pi@127.0.0.1"
    plain = bundled.FOLDER / "blood-nano" / "blood-nano.tflite"
    assert "is no bundle" in refused(capfd, "deploy", *nowhere, plain)
    assert "no such file" in refused(capfd, "deploy", *nowhere, tmp_path / "none.qlvit")
    assert "is no USER@HOST" in refused(capfd, "deploy", "--", "-oProxyCommand=id", bundle)
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ("--validate", empty, "--out", tmp_path / "out")
    assert "holds no class folders" in refused(capfd, "deploy", *nowhere, bundle, *options)
    assert run_command("deploy", *nowhere, bundle, "--validate", images) == 2
    assert "give both or none" in capfd.readouterr().err
