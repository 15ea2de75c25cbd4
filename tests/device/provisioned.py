"""From a bare disk to a device: the wheelhouse over SSH, a key, a model, a configuration."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from device import BUNDLES, DATA, PACKAGE, PAGE_PORT, PROGRAM, RESULTS
from machine import Machine

from qlvit_edge import bundled

KEY = "laboratory"
BUDGET_MS = 60_000
"""What an inference may take under emulation before its model is rolled back."""

MODELS = {"1.0.0": "blood-nano", "1.1.0": "blood-tiny"}
"""Version of the bundle → the bundled model in it."""

CONFIGURATION = f"""
model = "installed"
camera = "simulated:{PACKAGE}/bundled/fields?fps=1"
out = "{RESULTS}"
serve = "0.0.0.0:{PAGE_PORT}"
model-seconds = 600
"""
"""What the service does; starting the model's process takes a minute here, which is its limit."""

EMULATED = "[Service]\nTimeoutStartSec=1800\nTimeoutStopSec=300\n"
"""The one change to the unit: an emulated processor takes minutes to import what it needs."""


@dataclass(frozen=True)
class Provisioned:
    """What provisioning did.

    Attributes:
        first: what the installer said.
        second: what it said when it was run again.
        seconds: how long the first run took.
        size_mb: what lies below its prefix.
        install_seconds: how long the first model's installation took.
    """

    first: str
    second: str
    seconds: float
    size_mb: float
    install_seconds: float


def sign_bundles(folder: Path) -> None:
    """Make a key and a bundle of each model with the program that is installed here."""
    program = str(Path(sys.executable).with_name("qlvit-edge"))

    def call(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, capture_output=True, cwd=folder)

    folder.mkdir(parents=True)
    call("models", "keys", "new", KEY, "--out", ".")
    for version, name in MODELS.items():
        call(
            *("models", "sign", str(bundled.resolve_model(name)), "--key", f"{KEY}.key"),
            *("--version", version, "--name", "blood", "--target", "aarch64"),
            *("--budget", str(BUDGET_MS), "--out", f"{version}.qlvit"),
        )


def provision(machine: Machine, wheelhouse: Path, bundles: Path) -> Provisioned:
    """Provision a running machine as the documentation says; it has no network."""
    machine.send([wheelhouse], "/root")
    machine.send(sorted(bundles.glob("*.qlvit")), BUNDLES)
    machine.send([bundles / f"{KEY}.pem"], "/root")
    install = f"cd /root/{wheelhouse.name} && bash install.sh --key /root/{KEY}.pem 2>&1"
    began = time.monotonic()
    first = machine.run(install, seconds=3600)
    seconds = time.monotonic() - began
    second = machine.run(install, seconds=3600)
    machine.run("cat >/etc/qlvit-edge/run.toml", stdin=CONFIGURATION.encode())
    machine.run(
        "mkdir -p /etc/systemd/system/qlvit-edge.service.d && "
        "cat >/etc/systemd/system/qlvit-edge.service.d/emulated.conf && systemctl daemon-reload",
        stdin=EMULATED.encode(),
    )
    began = time.monotonic()
    machine.run(
        f"cd {DATA} && install -m 0644 {BUNDLES}/1.0.0.qlvit /tmp/first.qlvit && "
        f"runuser -u qlvit-edge -- {PROGRAM} models install /tmp/first.qlvit",
        seconds=3600,
    )
    took = time.monotonic() - began
    size = float(machine.run("du -sm /opt/qlvit-edge").split()[0])
    return Provisioned(first, second, seconds, size, took)
