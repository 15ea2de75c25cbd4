"""What bats tests of the device's scripts, as a part of the other tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BATS = Path(__file__).resolve().parent / "bats"


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("bats") is None, reason="apt-get install bats; `make test-firmware` does"
)
@pytest.mark.parametrize("file", sorted(BATS.glob("*.bats")), ids=lambda file: file.stem)
def test_scripts_of_a_device(file: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("QLVIT")}
    done = subprocess.run(
        ["bats", str(file)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nok 1 " in done.stdout
