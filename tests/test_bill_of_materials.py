"""The bill of materials of a wheelhouse: valid CycloneDX, and true."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SCRIPT = Path(__file__).resolve().parents[1] / "firmware_scripts" / "bill_of_materials.py"


def wheel(folder: Path, name: str, version: str, *lines: str, library: bytes = b"") -> Path:
    """Write a wheel with a few lines of metadata, and perhaps a compiled library inside."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", "\n".join(head) + "\n\nA text.\n")
        if library:
            archive.writestr(f"{name}.libs/libz-1a2b.so.1", library)
    return path


def made(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    classifier = "Classifier: License :: OSI Approved :: BSD License"
    wheel(folder, "NumPy", "1.26.4", classifier, library=b"\x7fELF and more")
    wheel(folder, "typing_extensions", "4.1", "License-Expression: PSF-2.0")
    wheel(folder, "odd", "1", "License: MIT", "Requires-Dist: numpy>=1; extra == 'all'")
    wheel(folder, "silent", "2", "Requires-Dist: typing-extensions (>=4)")
    wheel(folder, "qlvit-edge", "0.1.0", "Requires-Dist: numpy", "Requires-Dist: odd; extra == 'x'")
    return folder


def test_it_is_valid_cyclonedx_of_all_wheels_with_their_hashes(wheelhouse: Path) -> None:
    done = made(wheelhouse)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 packages, 1 compiled libraries" in done.stdout
    assert "without a licence in their metadata: silent" in done.stdout
    text = (wheelhouse / "bom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    ours = bill["metadata"]["component"]
    for component in [ours, *bill["components"]]:
        file = wheelhouse / component["properties"][0]["value"]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
    by_name = {component["name"]: component for component in bill["components"]}
    assert by_name.keys() == {"numpy", "typing-extensions", "odd", "silent"}
    assert by_name["numpy"]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert by_name["typing-extensions"]["licenses"] == [{"expression": "PSF-2.0"}]
    assert by_name["odd"]["licenses"] == [{"license": {"name": "MIT"}}]
    digest = hashlib.sha256(b"\x7fELF and more").hexdigest()
    inside = [("NumPy.libs/libz-1a2b.so.1", digest)]
    found = [(one["name"], one["hashes"][0]["content"]) for one in by_name["numpy"]["components"]]
    assert found == inside
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert needs == {
        "pkg:pypi/numpy@1.26.4": [],
        "pkg:pypi/typing-extensions@4.1": [],
        "pkg:pypi/odd@1": [],
        "pkg:pypi/silent@2": ["pkg:pypi/typing-extensions@4.1"],
        "pkg:pypi/qlvit-edge@0.1.0": ["pkg:pypi/numpy@1.26.4", "pkg:pypi/odd@1"],
    }


def test_the_same_wheels_give_the_same_bytes(wheelhouse: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "1.json", tmp_path / "2.json"
    for out in (first, again):
        assert made(wheelhouse, "--out", str(out)).returncode == 0
    assert first.read_bytes() == again.read_bytes()


def test_a_damaged_wheel_leaves_no_bill(wheelhouse: Path) -> None:
    assert made(wheelhouse).returncode == 0
    before = (wheelhouse / "bom.cdx.json").read_bytes()
    broken = wheelhouse / "odd-1-py3-none-any.whl"
    broken.write_bytes(broken.read_bytes()[:-30])
    done = made(wheelhouse)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{broken}: cannot be read" in done.stderr
    assert (wheelhouse / "bom.cdx.json").read_bytes() == before
    assert not (wheelhouse / "bom.cdx.json.new").exists()


@pytest.mark.parametrize("content", ["nothing", "twice", "no metadata"])
def test_what_is_no_wheelhouse_is_refused(tmp_path: Path, content: str) -> None:
    if content == "twice":
        wheel(tmp_path, "odd", "1")
        wheel(tmp_path, "odd", "2")
    elif content == "no metadata":
        with zipfile.ZipFile(tmp_path / "a-1-py3-none-any.whl", "w") as archive:
            archive.writestr("a.py", "")
    done = made(tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.json*"))
