"""One emulated device for all checks: built, provisioned, started; and a table of what was seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import images
from device import PAGE_PORT, Device
from machine import Machine
from provisioned import Provisioned, provision, sign_bundles

Say = Callable[[str, str], None]

_SEEN: list[tuple[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device-cache", type=Path, help="folder of the disks, some gigabytes")
    parser.addoption("--arm64-cache", type=Path, help="folder of the user-mode emulator")
    parser.addoption("--wheelhouse", type=Path, help="what `make wheelhouse` built")
    parser.addoption(
        "--provisioned-before",
        action="store_true",
        help="begin with the disk that the last call provisioned",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _SEEN:
        return
    heading = "what | seen (emulated processor: times are no device's)"
    terminalreporter.write_line(f"\n| {heading} |\n|---|---|")
    for what, seen in _SEEN:
        terminalreporter.write_line(f"| {what} | {seen} |")


@pytest.fixture(scope="session")
def say() -> Say:
    """Add a row to the table of what was seen."""

    def add(what: str, seen: str) -> None:
        _SEEN.append((what, seen))
        print(f"{what}: {seen}", file=sys.__stderr__, flush=True)

    return add


@pytest.fixture(scope="session")
def cache(pytestconfig: pytest.Config) -> Path:
    folder: Path | None = pytestconfig.getoption("--device-cache")
    if folder is None:
        pytest.exit("name a folder with --device-cache; `make test-device` does", returncode=2)
    return folder


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config, cache: Path) -> images.Image:
    return images.build(cache, pytestconfig.getoption("--arm64-cache") or cache)


@pytest.fixture(scope="session")
def provisioned(
    pytestconfig: pytest.Config,
    image: images.Image,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Provisioned:
    """What provisioning said; its disk is `provisioned.qcow2` in the cache."""
    disk, record = cache / "provisioned.qcow2", cache / "provisioned.json"
    if pytestconfig.getoption("--provisioned-before"):
        return Provisioned(**json.loads(record.read_text()))
    record.unlink(missing_ok=True)
    disk.unlink(missing_ok=True)
    bundles = tmp_path_factory.mktemp("signed") / "bundles"
    sign_bundles(bundles)
    machine = Machine(
        image, images.layer(image.folder / "disk.raw", disk), tmp_path_factory.mktemp("bare")
    )
    try:
        say("bare Debian up, systemd as process 1", f"{machine.start():.0f} s")
        done = provision(machine, pytestconfig.getoption("--wheelhouse"), bundles)
        machine.shut_down()
    finally:
        machine.cut_power()
    record.write_text(json.dumps(asdict(done)))
    return done


@pytest.fixture(scope="session")
def device(
    provisioned: Provisioned,
    image: images.Image,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    say: Say,
) -> Iterator[Device]:
    """The device, switched on after it was provisioned; nobody started the service."""
    folder = tmp_path_factory.mktemp("device")
    disk = images.layer(cache / "provisioned.qcow2", folder / "disk.qcow2")
    machine = Machine(image, disk, folder, ports=(PAGE_PORT,))
    try:
        say("device up after provisioning", f"{machine.start():.0f} s")
        yield Device(machine)
        machine.shut_down()
    finally:
        machine.cut_power()
