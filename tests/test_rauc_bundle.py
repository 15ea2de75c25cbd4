"""A RAUC bundle of application and model: built, inspected, and refused when tampered with."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from stand_in_device import SCRIPTS
from tiny_wheelhouse import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("rauc") is None or shutil.which("mksquashfs") is None,
        reason="apt-get install rauc squashfs-tools; `make test-firmware` does",
    ),
]
MODEL = random.Random(1).randbytes(20_000)


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key and a certificate of its own."""
    key, cert = folder / f"{name}.key.pem", folder / f"{name}.cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key)),
            *("-out", str(cert)),
        ],
        capture_output=True,
        check=True,
    )
    return key, cert


def command(folder: Path, key: Path, cert: Path, out: Path) -> list[str]:
    return [
        *("bash", str(SCRIPTS / "rauc" / "build_bundle.sh")),
        *("--wheelhouse", str(folder / "wheelhouse"), "--model", str(folder / "cells.qlvit")),
        *("--cert", str(cert), "--key", str(key), "--out", str(out)),
    ]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, a wheelhouse, a model, and the bundle of them."""
    folder = tmp_path_factory.mktemp("a bundle")
    assert build(folder / "sources", folder / "wheelhouse").returncode == 0
    (folder / "cells.qlvit").write_bytes(MODEL)
    key, cert = make_key(folder, "hospital")
    done = call(*command(folder, key, cert, folder / "bundle.raucb"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Compatible: \t'qlvit-edge-bookworm-arm64'" in done.stdout
    assert "Version:    \t'1.0'" in done.stdout
    assert "application.tar.gz" in done.stdout
    return folder


def refused(folder: Path, bundle: Path, keyring: str = "hospital") -> bool:
    """Whether rauc refuses to take anything out of a bundle."""
    shutil.rmtree(folder / "taken", ignore_errors=True)
    cert = folder / f"{keyring}.cert.pem"
    done = call("rauc", "extract", "--keyring", str(cert), str(bundle), str(folder / "taken"))
    assert (done.returncode == 0) == (folder / "taken" / "application.tar.gz").exists()
    return done.returncode != 0


def test_a_bundle_carries_application_and_model(folder: Path) -> None:
    assert not refused(folder, folder / "bundle.raucb")
    with tarfile.open(folder / "taken" / "application.tar.gz") as archive:
        names = archive.getnames()
        model = archive.extractfile("./model.qlvit")
        assert model is not None
        assert model.read() == MODEL
        launcher = archive.getmember("./venv/bin/qlvit-edge")
        assert launcher.mode == 0o755
        assert {member.uid for member in archive.getmembers()} == {0}
    assert "./venv/lib/python3.11/site-packages/qlvit_edge.py" in names
    assert "./venv/pyvenv.cfg" in names


def test_a_bundle_that_was_tampered_with_is_refused(folder: Path) -> None:
    whole = (folder / "bundle.raucb").read_bytes()
    bundle = folder / "tampered.raucb"
    # Superblock, packed files, check data, and the signature at the end with its length.
    for place in (40, len(whole) // 4, len(whole) // 2, len(whole) - 600, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        bundle.write_bytes(changed)
        assert refused(folder, bundle), place
    for length in (0, 1000, len(whole) // 2, len(whole) - 1):
        bundle.write_bytes(whole[:length])
        assert refused(folder, bundle), length
    bundle.write_bytes(whole)
    assert not refused(folder, bundle)


def test_a_bundle_of_somebody_else_is_refused(folder: Path) -> None:
    key, cert = make_key(folder, "stranger")
    out = folder / "strange.raucb"
    whole = str(folder / "bundle.raucb")
    signed = ["--cert", str(cert), "--key", str(key), "--signing-keyring", str(cert)]
    trusted = ["--keyring", str(folder / "hospital.cert.pem")]
    assert call("rauc", "resign", *trusted, *signed, whole, str(out)).returncode == 0
    assert refused(folder, out, "hospital")
    assert not refused(folder, out, "stranger")
    own = folder / "hospital.key.pem"
    done = call(*command(folder, own, cert, folder / "mixed.raucb"))
    assert done.returncode == 1
    assert "do certificate, key and keyring belong together?" in done.stderr
    assert not (folder / "mixed.raucb").exists()


def test_what_is_missing_is_told_in_one_line(folder: Path) -> None:
    key, cert = folder / "hospital.key.pem", folder / "hospital.cert.pem"
    words = command(folder, key, cert, folder / "new.raucb")
    for changed, finding in (
        ([*words[:-2]], "--out is missing"),
        ([*words[:-1], str(folder / "bundle.raucb")], "exists already"),
        ([*words, "--model", str(cert)], "is not a signed model"),
        ([*words, "--wheelhouse", "/etc"], "is not a wheelhouse"),
        ([*words, "--key", "gone.pem"], "gone.pem: no such file"),
    ):
        done = call(*changed)
        assert (done.returncode, done.stdout) == (2, "")
        assert finding in done.stderr
        assert done.stderr.count("\n") == 1
