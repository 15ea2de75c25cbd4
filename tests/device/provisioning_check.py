"""A bare Debian becomes a device from the wheelhouse, without a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from device import Device
from provisioned import Provisioned

Say = Callable[[str, str], None]


def test_the_installer_needs_no_network_and_changes_nothing_the_second_time(
    provisioned: Provisioned, say: Say
) -> None:
    assert "Nothing had to be changed." not in provisioned.first
    assert "Nothing had to be changed." in provisioned.second
    say("provisioned from the wheelhouse over SSH, no network", f"{provisioned.seconds:.0f} s")
    say("below /opt/qlvit-edge", f"{provisioned.size_mb:.0f} MB")
    say("first model installed", f"{provisioned.install_seconds:.0f} s")


def test_nothing_leads_out_of_the_guest(device: Device) -> None:
    # 10.0.2.2 is what the emulator would hand on to this machine.
    code, _, error = device.machine.attempt(
        "python3 -c \"import socket; socket.create_connection(('10.0.2.2', 22), 10)\""
    )
    assert code != 0, "the guest has a network: nothing is shown about provisioning without one"
    assert "rror" in error


@pytest.mark.parametrize(
    "place",
    [
        "/etc/udev/rules.d/60-qlvit-edge.rules",
        "/etc/systemd/system/qlvit-edge.service",
        "/etc/qlvit-edge/keys/laboratory.pem",
        "/usr/local/bin/qlvit-edge",
    ],
)
def test_the_device_has_it(device: Device, place: str) -> None:
    device.machine.run(f"test -s {place}")
