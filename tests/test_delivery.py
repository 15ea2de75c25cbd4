"""Models on a device: signed, installed, run on trial, marked good or rolled back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
from command import files_below, refused, run_command
from deliveries import PRIVATE, bundle_of, manifest_of, unexamined
from faulty_disk import SteppedDisk, raising
from notify_socket import NotifySocket
from tiny_metadata import metadata, plain_image
from tiny_model import tiny_model

from qlvit_edge.cli.run_installed import model_of
from qlvit_edge.delivery import store
from qlvit_edge.delivery.bundle import Bundle, unpack
from qlvit_edge.delivery.examination import Engine
from qlvit_edge.delivery.install import Installer
from qlvit_edge.delivery.keys import new_pair, trusted_keys
from qlvit_edge.delivery.manifest import Manifest
from qlvit_edge.delivery.state import State, slot_of
from qlvit_edge.delivery.store import Store
from qlvit_edge.delivery.trial import FRAMES_NEEDED, MOST_STARTS, Trials, Watch
from qlvit_edge.errors import ModelRolledBackError
from qlvit_edge.modelfile.metadata import TriedForms, embed

TIME = "2026-01-02T03:04:05Z"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where models are signed: a key, a model file, a signed bundle of it, and a camera."""
    folder = tmp_path_factory.mktemp("workshop")
    known = metadata().model_copy(update={"tried_forms": TriedForms(operations=0, tried=0)})
    (folder / "tiny.tflite").write_bytes(embed(tiny_model(), known))
    (folder / "camera").mkdir()
    for label in ("RED", "GREEN"):
        image = cv2.cvtColor(plain_image(label, size=64), cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(folder / "camera" / f"{label}.png"), image)
    new_pair("lab", folder / "keys", None)
    sign = ["models", "sign", folder / "tiny.tflite", "--key", folder / "keys" / "lab.key"]
    assert run_command(*sign, "--version", "1.0", "--out", folder / "1.0.qlvit") == 0
    return folder


@dataclass(frozen=True)
class Device:
    """A device with a store of its own, which trusts the key `lab` and a test's own, `tests`."""

    folder: Path
    workshop: Path
    first: Bundle

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def state(self) -> State:
        return self.store.read()

    @property
    def versions(self) -> tuple[str | None, ...]:
        """Version of the active model, and of the other."""
        slots = (self.state.running, self.state.other)
        return tuple(None if slot is None else slot.version for slot in slots)

    def bundle(self, version: str, model: bytes | None = None, **changes: Any) -> Path:
        """Write a bundle that says what the signed one says, but for some of it."""
        said = {**self.first.manifest.model_dump(), "version": version}
        if model is not None:
            told = manifest_of(model)
            said |= {"bytes": told.bytes, "sha256": told.sha256}
        manifest = Manifest.model_validate({**said, **changes})
        path = self.folder / f"{version}.qlvit"
        path.write_bytes(bundle_of(self.first.model if model is None else model, manifest))
        return path

    def put(self, version: str, model: bytes | None = None, **changes: Any) -> None:
        """Install a bundle without trying it."""
        keys = trusted_keys(self.folder / "keys")
        installer = Installer(self.store, keys, Engine(), examiner=unexamined)
        installer.install(self.bundle(version, model, **changes))

    def put_good(self, version: str) -> None:
        """Install a bundle, and mark it good."""
        self.put(version)
        runs = self.trials()
        runs.mark_good(runs.begin())

    def trials(self, say: Callable[[str], None] = lambda text: None) -> Trials:
        return Trials(self.store, trusted_keys(self.folder / "keys"), say)

    def run(self, frames: int = 2, camera: str | None = None) -> list[object]:
        """The words of a run with the installed model."""
        source = camera or f"simulated:{self.workshop / 'camera'}?fps=500"
        out = self.folder / "results.sqlite"
        limits: list[object] = ["--frames", frames, "--find", "none"]
        return ["run", "installed", "--camera", source, "--out", out, *limits]


@pytest.fixture
def device(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    (tmp_path / "keys").mkdir()
    shutil.copy(workshop / "keys" / "lab.pem", tmp_path / "keys")
    from cryptography.hazmat.primitives import serialization as form

    pem = PRIVATE.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "keys" / "tests.pem").write_bytes(pem)
    monkeypatch.setenv("QLVIT_EDGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("QLVIT_EDGE_KEYS", str(tmp_path / "keys"))
    content = (workshop / "1.0.qlvit").read_bytes()
    first = unpack(content, trusted_keys(tmp_path / "keys"), "1.0.qlvit")
    return Device(tmp_path, workshop, first)


def status(capfd: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    """What `status --json` prints."""
    capfd.readouterr()
    assert run_command("models", "status", "--json") == code
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    return told


def test_a_model_is_signed_installed_run_and_marked_good(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = device.workshop / "1.0.qlvit"
    assert run_command("models", "verify", bundle) == 0
    assert "tiny 1.0, signed by lab" in capfd.readouterr().out
    assert run_command("models", "install", bundle) == 0
    said = capfd.readouterr().out
    assert "signed by lab" in said
    assert "3 of 3 golden pairs equal to the byte" in said
    assert "32 bundled crops get the answers of where it was signed, to the byte." in said
    told = status(capfd)
    assert (told["active"], told["trial"]["starts"]) == ("a", 0)
    assert told["slots"]["a"]["standing"] == "trial"
    assert told["slots"]["b"] is None
    assert run_command(*device.run(FRAMES_NEEDED + 2)) == 0
    assert "tiny 1.0 has passed its trial" in capfd.readouterr().err
    told = status(capfd)
    assert told["trial"] is None
    assert told["slots"]["a"]["standing"] == "good"
    assert [event["what"] for event in told["events"]] == ["installed", "marked good"]
    with closing(sqlite3.connect(device.folder / "results.sqlite")) as results:
        ((digest,),) = results.execute("SELECT model_sha256 FROM runs")
    assert digest == device.first.manifest.sha256


def test_what_is_installed_already_is_no_error(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = device.workshop / "1.0.qlvit"
    assert run_command("models", "install", bundle) == 0
    before = device.state
    capfd.readouterr()
    assert run_command("models", "install", bundle, "--json") == 0
    assert json.loads(capfd.readouterr().out)["outcome"] == "already installed"
    assert device.state == before


def test_wrong_targets_older_versions_and_strangers_are_refused(
    device: Device, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device.put_good("1.5")
    before = device.state, files_below(device.store.folder)
    older = device.bundle("1.4")
    assert "tiny 1.4 is older than 1.5; " in refused(capfd, "models", "install", older)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    line = refused(capfd, "models", "install", device.bundle("1.6"))
    assert "is for x86_64, aarch64, armv7l, this device is riscv64" in line
    line = refused(capfd, "models", "install", device.bundle("1.6", targets=["edgetpu"]))
    assert "is for an Edge TPU" in line
    monkeypatch.undo()
    keys = ("--keys", device.workshop / "keys", "--store", device.store.folder)
    line = refused(capfd, "models", "install", device.bundle("1.6"), *keys)
    assert "no key that this device trusts (lab) signed it" in line
    line = refused(capfd, "models", "install", device.bundle("1.5", b"other"), *keys[2:],
                   "--keys", device.folder / "keys")  # fmt: skip
    assert "is another model than the tiny 1.5 that is installed" in line
    assert (device.state, files_below(device.store.folder)) == before


def test_an_older_version_is_let_in_where_it_is_asked_for(device: Device) -> None:
    device.put_good("1.5")
    assert run_command("models", "install", device.bundle("1.4"), "--allow-downgrade") == 0
    assert device.versions == ("1.4", "1.5")


def test_after_a_roll_back_the_floor_is_what_was_marked_good(device: Device) -> None:
    device.put_good("1.5")
    device.put("2.0")
    assert run_command("models", "rollback") == 0
    assert device.versions == ("1.5", "2.0")
    device.put("1.6")
    assert device.versions == ("1.6", "1.5")


@pytest.mark.parametrize("wrong", ["golden pairs", "self-test", "budget", "no model"])
def test_a_model_that_is_wrong_or_slow_here_is_not_installed(
    wrong: str, device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    before = device.state, files_below(device.store.folder)
    code = 1
    if wrong == "golden pairs":
        known = metadata()
        pair = known.golden[0].model_copy(update={"xnnpack_logits": [1, 2, 3], "logits": [1, 2, 3]})
        known = known.model_copy(update={"golden": [pair, *known.golden[1:]]})
        bundle = device.bundle("1.1", embed(tiny_model(), known))
        finding = "XNNPACK's kernels give 2 of 3 golden pairs only"
    elif wrong == "self-test":
        test = device.first.manifest.self_test.model_dump()
        answers = dict.fromkeys(test["answers"], "0" * 64)
        bundle = device.bundle("1.1", self_test={**test, "answers": answers})
        finding = "bundled crops get other answers than where it was signed (32 of 32"
    elif wrong == "budget":
        bundle = device.bundle("1.1", budget_ms=0.0001)
        finding = "its budget is 0.0001"
    else:
        bundle, code = device.bundle("1.1", b"no model at all" * 9), 2
        finding = "TFLite"
    assert finding in refused(capfd, "models", "install", bundle, code=code)
    assert (device.state, files_below(device.store.folder)) == before


def test_kernels_of_which_nothing_is_claimed_must_call_most_crops_the_same(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    install = ["models", "install", "--kernels", "builtin"]
    test = device.first.manifest.self_test.model_dump()
    labels = [1 - label if label < 2 else 0 for label in test["labels"]]
    other = device.bundle("1.0", self_test={**test, "labels": labels})
    line = refused(capfd, *install, other, code=1)
    assert "bundled crops get the class of where it was signed" in line
    assert run_command(*install, device.workshop / "1.0.qlvit") == 0
    assert "32 of 32 bundled crops get the class" in capfd.readouterr().out


def test_a_model_that_is_slow_in_its_trial_is_rolled_back(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1", budget_ms=0.0001)
    capfd.readouterr()
    assert run_command(*device.run(FRAMES_NEEDED)) == 1
    said = capfd.readouterr().err
    assert "slower than its budget of 0.0001 ms in 3 of 3 frames" in said
    assert "error: tiny 1.1: " in said
    assert "tiny 1.0 is active again: start the run again" in said
    told = status(capfd)
    assert told["slots"]["b"]["standing"] == "failed"
    assert device.versions == ("1.0", "1.1")
    assert run_command(*device.run()) == 0


def test_a_service_whose_model_is_rolled_back_is_started_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd starts no service again that ended with 1: see RestartPreventExitStatus."""
    device.put_good("1.0")
    device.put("1.1", budget_ms=0.0001)
    with NotifySocket(device.folder / "n") as ear:
        monkeypatch.setenv("NOTIFY_SOCKET", ear.name)
        assert run_command(*device.run(FRAMES_NEEDED)) == 75
    assert device.versions == ("1.0", "1.1")


def test_a_model_that_does_not_load_gives_way_at_once(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1", b"no model at all" * 9)
    capfd.readouterr()
    assert run_command(*device.run()) == 0
    assert "tiny 1.1 is rolled back to tiny 1.0" in capfd.readouterr().err
    assert device.versions == ("1.0", "1.1")


def test_a_model_is_not_blamed_for_what_the_one_before_cannot_either(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1")
    before = device.state
    line = refused(capfd, *device.run(), "--runtime", "tflite-runtime")
    assert "tflite-runtime" in line
    assert device.state == before


@pytest.mark.parametrize(("unanswered", "restarts"), [(1, 0), (0, 3), (0, 2)])
def test_a_model_that_loses_its_process_in_its_trial_is_rolled_back(
    unanswered: int, restarts: int, device: Device
) -> None:
    device.put_good("1.0")
    device.put("1.1")
    session: Any = SimpleNamespace(
        times=SimpleNamespace(spent={"infer": 0.1}),
        newest=(None, ("cell",)),
        unanswered=unanswered,
        restarts=restarts,
        classifier=SimpleNamespace(
            sha256=device.first.manifest.sha256,
            golden_pairs=lambda: SimpleNamespace(failure=None),
        ),
    )
    model = model_of("installed")
    with model.counted():
        assert model.prepare(lambda path: session) is session
        assert device.state.starts == 1
        if (unanswered, restarts) == (0, 2):
            model.after_frame(session)
        else:
            with pytest.raises(ModelRolledBackError, match=r"tiny 1\.0 is active again"):
                model.after_frame(session)
    assert device.versions == (("1.1", "1.0") if restarts == 2 else ("1.0", "1.1"))
    assert device.state.starts == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_installs_belongs_to_the_service(device: Device) -> None:
    os.chown(device.folder, 1234, 1235)
    device.put_good("1.0")
    paths = [device.store.folder, *device.store.folder.rglob("*")]
    assert len(paths) == 6
    assert {(path.stat().st_uid, path.stat().st_gid) for path in paths} == {(1234, 1235)}


def test_what_a_link_in_a_store_leads_to_is_left_alone(device: Device) -> None:
    """Whoever owns a store must not have root empty other folders."""
    elsewhere = device.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lab.pem").write_text("a key")
    device.put("1.0")
    link = device.store.folder_of("0123456789abcdef")
    link.symlink_to(elsewhere)
    device.put("1.1")
    assert (elsewhere / "lab.pem").read_text() == "a key"
    assert not link.is_symlink()


def test_a_model_is_not_blamed_for_a_page_that_cannot_be_served(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1")
    before = device.state
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(capfd, *device.run(), "--serve", f"127.0.0.1:{taken.getsockname()[1]}")
    assert "the page cannot be served there" in line
    assert device.state == before


def test_the_only_model_is_never_taken_away(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put("1.0", budget_ms=0.0001)
    assert run_command(*device.run(5)) == 0
    assert "there is no model to go back to" in capfd.readouterr().err
    assert device.state.on_trial


def test_runs_that_end_in_order_are_not_counted(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1")
    for _ in range(2):
        assert run_command(*device.run(1)) == 0
    assert "camera" in refused(capfd, *device.run(camera="usb:77"))
    assert (device.state.starts, device.versions[0]) == (0, "1.1")


def test_runs_that_are_killed_are_counted_and_the_model_is_rolled_back(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put("1.1")
    command = [sys.executable, "-m", "qlvit_edge", *map(str, device.run(1_000_000))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            wait_for(lambda: device.state.starts == 1)
        finally:
            os.kill(run.pid, signal.SIGKILL)
    assert device.state.starts == 1
    for count in range(2, MOST_STARTS + 1):
        device.trials().begin()
        assert device.state.starts == count
    assert device.versions == ("1.1", "1.0")
    capfd.readouterr()
    assert run_command(*device.run()) == 0
    assert "3 starts on trial ended without a word" in capfd.readouterr().err
    assert device.versions == ("1.0", "1.1")


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_model_that_was_changed_on_the_disk_does_not_run(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    device.put_good("1.0")
    device.put_good("1.1")
    running = device.state.running
    assert running is not None
    path = device.store.path_of(running)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "its model is not the one that was signed" in refused(
        capfd, "predict", device.workshop / "camera", "--model", "installed"
    )
    told = status(capfd, code=1)
    assert (told["slots"]["b"]["usable"], told["slots"]["a"]["usable"]) == (False, True)
    assert run_command(*device.run()) == 0
    assert "rolled back from tiny 1.1 to tiny 1.0" in capfd.readouterr().err
    assert device.versions == ("1.0", "1.1")
    (running,) = [slot for slot in (device.state.running,) if slot is not None]
    device.store.path_of(running).unlink()
    assert "no such file" in refused(capfd, *device.run())
    assert "no such file" not in refused(capfd, "models", "rollback")


def test_a_model_whose_key_is_no_longer_trusted_does_not_run(
    device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command("models", "install", device.workshop / "1.0.qlvit") == 0
    device.put("1.1")
    (device.folder / "keys" / "tests.pem").unlink()
    assert device.trials().begin().kept.slot.version == "1.0"
    (device.folder / "keys" / "lab.pem").rename(device.folder / "keys" / "lab.pem.old")
    assert "holds no trusted key" in refused(capfd, *device.run())


def test_where_the_store_cannot_be_written_a_good_model_runs_uncounted(device: Device) -> None:
    device.put_good("1.0")
    device.put("1.1")
    before, said = device.state, list[str]()
    disk = SteppedDisk(0, raising(errno.EROFS))
    runs = Trials(Store(device.store.folder, disk), trusted_keys(device.folder / "keys"),
                  said.append)  # fmt: skip
    started = runs.begin()
    assert (started.kept.slot.version, started.on_trial) == ("1.0", False)
    runs.end(started)
    assert device.state == before
    (line,) = said
    assert "cannot be written (Read-only file system); tiny 1.0 runs in place of tiny 1.1" in line


def test_installed_means_the_active_model_to_other_commands(
    device: Device,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = ["predict", device.workshop / "camera" / "RED.png", "--model", "installed"]
    for command in (predict, device.run(), ["doctor", "installed"]):
        assert "no model is installed; install one" in refused(capfd, *command)
    device.put("1.0")
    capfd.readouterr()
    assert run_command(*predict) == 0
    assert "RED" in capfd.readouterr().out
    assert device.state.starts == 0
    data = tmp_path / "data" / "RED"
    data.mkdir(parents=True)
    shutil.copy(device.workshop / "camera" / "RED.png", data)
    validate = ["validate", "installed", "--data", data.parent, "--out", tmp_path / "report"]
    assert run_command(*validate) == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "installed").write_text("mine")
    assert "write ./installed for what lies here" in refused(capfd, *predict)


def test_what_cannot_be_signed_is_refused(
    device: Device, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = device.workshop / "keys" / "lab.key"
    sign = ["models", "sign", "--key", key, "--out", tmp_path / "a.qlvit", "--version"]
    model = device.workshop / "tiny.tflite"
    assert "is no version" in refused(capfd, *sign, "v1", model)
    assert "is no name for a bundle" in refused(capfd, *sign, "1", model, "--name", "../x")
    assert "runs chains" in refused(capfd, *sign, "1", model, "--target", "edgetpu")
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(embed(tiny_model(), metadata(golden=False)))
    assert "holds no golden pairs" in refused(capfd, *sign, "1", bare)
    known = metadata()
    pair = known.golden[0].model_copy(update={"logits": [1, 2, 3]})
    wrong = known.model_copy(update={"golden": [pair, *known.golden[1:]]})
    bare.write_bytes(embed(tiny_model(), wrong))
    assert "reference kernels give 2 of 3 golden pairs only" in refused(capfd, *sign, "1", bare)
    assert "let it end in .qlvit" in refused(capfd, *sign, "1", model, "--out", tmp_path / "a.zip")
    assert not (tmp_path / "a.qlvit").exists()


def test_without_the_extra_commands_say_what_to_install(
    device: Device, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in (["models", "status"], ["models", "keys", "new", "x"], device.run()):
        assert "pip install 'qlvit-edge[sign]'" in refused(capfd, *command)


def test_the_next_model_never_takes_the_place_of_the_one_to_go_back_to() -> None:
    state = State()
    slots = [slot_of(manifest_of(b"m", f"1.{n}"), f"{n}" * 16, "lab", TIME) for n in range(4)]
    state = state.installed(slots[0], TIME).marked_good(TIME)
    state = state.installed(slots[1], TIME)
    assert (state.active, state.on_trial) == ("b", True)
    state = state.installed(slots[2], TIME)
    assert (state.active, state.other) == ("b", state.slots["a"])
    assert state.other is not None
    assert state.other.standing == "good"
    state = state.rolled_back("slow", TIME, failed=True)
    assert state.free == "b"
    assert state.installed(slots[3], TIME).running == slots[3]
    assert State().rolled_back("x", TIME, failed=True) == State()


def test_a_watch_judges_by_frames_with_cells() -> None:
    watch = Watch(10.0)
    for _ in range(100):
        watch.see(0, 9.0)
    assert not watch.passed
    for number in range(FRAMES_NEEDED):
        watch.see(2, 0.021 if number < 2 else 0.019)
    assert watch.passed
    assert watch.failure(unanswered=0, restarts=2) is None
    assert "lost 3 times" in str(watch.failure(unanswered=0, restarts=3))
    assert "failed twice on one frame" in str(watch.failure(unanswered=1, restarts=0))
    watch.see(1, 0.011)
    assert State(starts=1000).started(1).starts == 1000
    assert "in 3 of 21 frames" in str(watch.failure(unanswered=0, restarts=0))


def test_the_store_is_the_one_that_the_installer_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "store"
    monkeypatch.setattr(store, "STORE_RECORD", record)
    monkeypatch.delenv(store.STORE_VARIABLE, raising=False)
    assert store.store_folder() == store.DEFAULT_STORE
    record.write_text("/srv/cells/models\n")
    assert store.store_folder() == Path("/srv/cells/models")
    monkeypatch.setenv(store.STORE_VARIABLE, "/elsewhere")
    assert store.store_folder() == Path("/elsewhere")
    assert store.store_folder(Path("named")) == Path("named")
    monkeypatch.delenv(store.STORE_VARIABLE)
    record.write_bytes(b"\xff\xfe")
    assert store.store_folder() == store.DEFAULT_STORE
