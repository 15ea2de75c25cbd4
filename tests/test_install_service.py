"""What the installer tells the system (rules, configuration, keys, units), and taking it away."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from stand_in_device import SCRIPTS, Device

UNIT = """[Unit]
Description=stand-in

[Service]
ExecStart=/opt/qlvit-edge/venv/bin/qlvit-edge run --config /var/lib/qlvit-edge/run.good.toml
User=qlvit-edge
"""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device to which a unit, its drop-ins and a configuration are brought."""
    device = Device(tmp_path / "a device")
    scripts = device.scripts
    for name in ("qlvit-edge.service.d", "journald.conf.d"):
        shutil.rmtree(scripts / name, ignore_errors=True)
        (scripts / name).mkdir()
    (scripts / "qlvit-edge.service").write_text(UNIT)
    (scripts / "qlvit-edge.service.d" / "backoff.conf").write_text("[Service]\nRestartSteps=5\n")
    (scripts / "qlvit-edge.service.d" / "other.conf").write_text("[Service]\nNice=5\n")
    (scripts / "journald.conf.d" / "qlvit-edge.conf").write_text("[Journal]\nSystemMaxUse=50M\n")
    (scripts / "run.toml").write_text('out = "/var/lib/qlvit-edge/results.sqlite"\n')
    return device


def test_the_service_is_installed_and_enabled_but_not_started(device: Device) -> None:
    assert device.run().returncode == 0
    calls = [call for call in device.calls() if call.startswith("systemctl")]
    assert calls == [
        "systemctl daemon-reload",
        "systemctl try-restart systemd-journald.service",
        "systemctl enable qlvit-edge.service",
    ]
    assert (device.units / "qlvit-edge.service").read_text() == UNIT
    journal = device.root / "etc/systemd/journald.conf.d/qlvit-edge.conf"
    assert journal.read_text() == "[Journal]\nSystemMaxUse=50M\n"


@pytest.mark.parametrize(("version", "known"), [("252", False), ("254", True)])
def test_a_drop_in_goes_only_where_systemd_knows_it(
    device: Device, version: str, known: bool
) -> None:
    device.environment["FAKE_SYSTEMD"] = version
    assert device.run().returncode == 0
    drop_ins = device.units / "qlvit-edge.service.d"
    assert (drop_ins / "backoff.conf").exists() == known
    assert (drop_ins / "other.conf").exists()


def test_start_starts_it_now_and_a_later_change_restarts_it(device: Device) -> None:
    assert device.run("--start").returncode == 0
    assert device.calls()[-1] == "systemctl start qlvit-edge.service"
    assert device.run("--start").returncode == 0
    assert device.calls() == []
    with (device.scripts / "qlvit-edge.service").open("a") as stream:
        stream.write("Nice=1\n")
    assert device.run().returncode == 0
    assert device.calls()[-3:] == [
        "systemctl daemon-reload",
        "systemctl try-restart systemd-journald.service",
        "systemctl try-restart qlvit-edge.service",
    ]


def test_a_service_that_runs_is_restarted_with_what_is_new(device: Device) -> None:
    assert device.run("--start").returncode == 0
    device.wheel.write_bytes(b"two")
    device.calls()
    assert device.run().returncode == 0
    assert device.calls()[-1] == "systemctl try-restart qlvit-edge.service"


def test_an_edited_configuration_is_never_overwritten(device: Device) -> None:
    configuration = device.configuration / "run.toml"
    shipped = device.scripts / "run.toml"
    assert device.run().returncode == 0
    assert configuration.read_text() == shipped.read_text()
    assert oct(configuration.stat().st_mode)[-3:] == "640"
    assert f"root:qlvit-edge {configuration}" in (device.folder / "owners").read_text()

    shipped.write_text("threads = 2\n")  # not edited there: a new version is taken
    assert device.run().returncode == 0
    assert configuration.read_text() == "threads = 2\n"

    configuration.write_text("threads = 3\n")
    before = device.tree()
    done = device.run()
    assert device.tree() == before
    assert "was edited and is kept" in done.stdout

    shipped.write_text("threads = 4\n")
    done = device.run()
    assert configuration.read_text() == "threads = 3\n"
    assert (device.configuration / "run.toml.new").read_text() == "threads = 4\n"
    assert "the new one lies beside it as run.toml.new" in done.stdout
    before = device.tree()
    assert "Nothing had to be changed." in device.run().stdout
    assert device.tree() == before


def test_a_configuration_from_before_is_kept(device: Device) -> None:
    device.configuration.mkdir()
    (device.configuration / "run.toml").write_text("mine = 1\n")
    assert device.run().returncode == 0
    assert (device.configuration / "run.toml").read_text() == "mine = 1\n"


def test_other_places_are_told_to_unit_and_configuration(device: Device) -> None:
    data, prefix = device.root / "srv" / "cells", device.root / "usr" / "edge"
    options = ("--data", str(data), "--prefix", str(prefix))
    assert device.run(*options).returncode == 0
    unit = (device.units / "qlvit-edge.service").read_text()
    assert "/usr/edge/venv/bin/qlvit-edge run --config /srv/cells/run.good.toml" in unit
    assert "ReadWritePaths=/srv/cells\nEnvironment=QLVIT_EDGE_STORE=/srv/cells/models\n" in unit
    assert (device.configuration / "run.toml").read_text() == 'out = "/srv/cells/results.sqlite"\n'
    before = device.tree()
    assert "Nothing had to be changed." in device.run(*options).stdout
    assert device.tree() == before
    assert (device.configuration / "store").read_text() == "/srv/cells/models\n"
    # Back in the usual places, no other store is named.
    assert device.run().returncode == 0
    assert not (device.configuration / "store").exists()


def test_only_public_keys_are_trusted(device: Device, tmp_path: Path) -> None:
    key = tmp_path / "hospital.pem"
    key.write_text("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n")
    assert device.run("--key", str(key)).returncode == 0
    installed = device.configuration / "keys" / "hospital.pem"
    assert installed.read_text() == key.read_text()
    assert oct(installed.stat().st_mode)[-3:] == "644"
    for text, finding in (
        ("-----BEGIN PRIVATE KEY-----\n", "is a private key"),
        ("ssh-ed25519 AAAA\n", "is not a public key"),
    ):
        key.write_text(text)
        before = device.tree()
        done = device.run("--key", str(key))
        assert (done.returncode, done.stdout) == (2, "")
        assert finding in done.stderr
        assert device.tree() == before


def test_uninstall_leaves_what_people_made_and_says_so(device: Device) -> None:
    bare = device.tree()
    assert device.run().returncode == 0
    (device.data / "results.sqlite").write_text("cells")
    device.environment["FAKE_UID"] = "1000"
    assert "run it with sudo" in device.run("--uninstall").stderr
    before = device.tree()
    device.calls()
    done = device.run("--uninstall", "--dry-run")
    assert f"+ rm -rf -- {device.prefix}".replace(" d", r"\ d") in done.stdout
    assert (device.tree(), device.calls()) == (before, [])
    device.environment["FAKE_UID"] = "0"
    done = device.run("--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert "systemctl disable qlvit-edge.service" in device.calls()
    left = {
        path for path, (mode, _, _) in device.tree().items() if not mode.startswith("0o4")
    } - bare.keys()
    assert left == {"var/lib/qlvit-edge/results.sqlite", "etc/qlvit-edge/run.toml"}
    assert f"Left, because people's work is in it: {device.data} {device.configuration}" in (
        done.stdout
    )
    assert "sudo userdel qlvit-edge" in done.stdout
    done = device.run("--uninstall")
    assert "Nothing had to be changed." in done.stdout
    assert device.run().returncode == 0
    assert (device.data / "results.sqlite").read_text() == "cells"


def test_uninstall_takes_nothing_that_is_not_ours(device: Device) -> None:
    device.prefix.mkdir(parents=True)
    (device.prefix / "thesis.txt").touch()
    done = device.run("--uninstall")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not from this script" in done.stderr


def matching(properties: dict[str, str]) -> list[dict[str, str]]:
    """What the rules assign to a device with these properties, one dictionary per matching rule."""
    found = []
    for line in (SCRIPTS / "60-qlvit-edge.rules").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        terms = re.findall(r'([A-Z]+(?:\{\w+\})?)(==|=)"([^"]*)"(?:, |$)', line)
        assert ", ".join(f'{key}{sign}"{value}"' for key, sign, value in terms) == line
        if all(properties.get(key) == value for key, sign, value in terms if sign == "=="):
            found.append({key: value for key, sign, value in terms if sign == "="})
    return found


@pytest.mark.parametrize(
    ("vendor", "product", "group"),
    [("1a6e", "089a", ["plugdev"]), ("18d1", "9302", ["plugdev"]), ("18d1", "4ee7", [])],
)
def test_the_rules_know_both_names_of_the_coral(
    vendor: str, product: str, group: list[str]
) -> None:
    stick = {
        "SUBSYSTEM": "usb",
        "ENV{DEVTYPE}": "usb_device",
        "ATTR{idVendor}": vendor,
        "ATTR{idProduct}": product,
    }
    assert [rule["GROUP"] for rule in matching(stick)] == group
    assert all(rule["MODE"] == "0660" for rule in matching(stick))


def test_the_rules_give_cameras_to_the_group_video() -> None:
    for subsystem in ("video4linux", "media", "dma_heap"):
        assert matching({"SUBSYSTEM": subsystem}) == [{"GROUP": "video", "MODE": "0660"}]


def test_udev_is_told_of_new_rules_once(device: Device) -> None:
    assert device.run().returncode == 0
    assert [call for call in device.calls() if call.startswith("udevadm")] == [
        "udevadm control --reload",
        "udevadm trigger --subsystem-match=usb --subsystem-match=video4linux",
    ]
    shutil.rmtree(device.root / "run")  # an image that is built, not a device that runs
    (device.root / "etc/udev/rules.d/60-qlvit-edge.rules").unlink()
    done = device.run()
    assert (done.returncode, device.calls()[1:]) == (0, [])
