"""Bundles and keys: what is read is what was signed, whatever the bytes are."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from deliveries import KEYS, PRIVATE, bundle_of, manifest_of, small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.delivery import bundle as bundles
from qlvit_edge.delivery.bundle import pack, signed_bytes, unpack
from qlvit_edge.delivery.keys import is_encrypted, new_pair, private_key, trusted_keys
from qlvit_edge.delivery.manifest import is_version, version_key
from qlvit_edge.delivery.state import State, parse_state, slot_of, state_bytes
from qlvit_edge.errors import DataError, ModelFileError

BUNDLE = small_bundle("1.0")
HEAD = 84


def refusal(content: bytes) -> str:
    """Why a bundle is refused, in one line."""
    with pytest.raises(ModelFileError) as error:
        unpack(content, KEYS, "a.qlvit")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_bundle_gives_back_what_was_signed() -> None:
    found = unpack(BUNDLE, KEYS, "a.qlvit")
    assert found.head + found.model == BUNDLE
    assert (found.manifest.title, found.key) == ("tiny 1.0", "lab")


def test_a_bundle_that_is_cut_anywhere_is_refused() -> None:
    for length in [*range(90), 200, len(BUNDLE) - 1]:
        assert "truncated" in refusal(BUNDLE[:length]) or length < 16


def test_a_bundle_with_anything_behind_it_is_refused() -> None:
    assert "goes on behind its end" in refusal(BUNDLE + b"\0")
    assert "goes on behind its end" in refusal(BUNDLE + BUNDLE)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_no_byte_of_a_bundle_can_be_changed(position: int, change: int) -> None:
    content = bytearray(BUNDLE)
    content[position] ^= change
    refusal(bytes(content))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_whatever_the_bytes_are_a_bundle_is_refused_in_one_line(noise: bytes, begun: bool) -> None:
    refusal((BUNDLE[:HEAD] if begun else b"") + noise)


def test_the_signature_is_verified_before_the_manifest_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundles, "parse_manifest", lambda *_: pytest.fail("it was read"))
    text = manifest_of(b"m").model_dump_json().encode()
    assert "no key that this device trusts (lab)" in refusal(pack(text, bytes(64), b"m"))


def test_a_signature_over_something_else_is_none() -> None:
    text = manifest_of(b"m").model_dump_json().encode()
    assert "trusts" in refusal(pack(text, PRIVATE.sign(text), b"m"))
    other = Ed25519PrivateKey.generate()
    assert "trusts" in refusal(bundle_of(b"m", manifest_of(b"m"), other))


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('"name":"tiny"', '"name":"../../etc"', "name"),
        ('"name":"tiny"', '"name":"tiny","name":"tiny"', "twice"),
        ('"name":"tiny"', '"name":"tiny","path":"/etc"', "path"),
        ('"version":"1.0"', '"version":"1.0\\n"', "version"),
        ('"version":"1.0"', '"version":"1.\\u0662"', "version"),
        ('"version":"1.0"', '"version":"01"', "version"),
        ('"format":1', '"format":2', "format"),
        ('"bytes":', '"bytes":1e', "bytes"),
        ('"kind":"tflite"', '"kind":"pickle"', "kind"),
        ('"budget_ms":null', '"budget_ms":NaN', "NaN"),
        ('["x86_64","aarch64","armv7l"]', '["x86_64","x86_64"]', "twice"),
        ('["x86_64","aarch64","armv7l"]', "[]", "targets"),
    ],
)
def test_a_signed_manifest_is_read_strictly(old: str, new: str, finding: str) -> None:
    text = manifest_of(b"m").model_dump_json()
    assert old in text
    changed = text.replace(old, new, 1).encode()
    content = pack(changed, PRIVATE.sign(signed_bytes(changed)), b"m")
    assert finding in refusal(content)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_a_signed_manifest_of_any_bytes_is_refused_in_one_line(text: bytes) -> None:
    refusal(pack(text, PRIVATE.sign(signed_bytes(text)), b"m"))


def test_a_length_beyond_the_limit_is_refused_before_it_is_used() -> None:
    content = BUNDLE[:16] + struct.pack("<I", 2**32 - 1) + BUNDLE[20:]
    assert "its manifest has 4,294,967,295 bytes" in refusal(content)


def test_versions_are_compared_as_numbers() -> None:
    assert version_key("1.10") > version_key("1.9.9")
    assert version_key("2026.11.27") > version_key("2026.2.3")
    assert version_key("1") == version_key("1.0.0.0")
    assert is_version("0.1")
    for text in ("", "1.", ".1", "1.2.3.4.5", "v1", "1-2", "١", "1\n", "-1", "1" * 11):
        assert not is_version(text)


def test_a_key_pair_signs_and_is_private(tmp_path: Path) -> None:
    private, public = new_pair("lab-1", tmp_path, None)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    (trusted,) = trusted_keys(tmp_path)
    assert trusted.name == "lab-1"
    trusted.key.verify(private_key(private, None).sign(b"x"), b"x")
    with pytest.raises(DataError, match="is there already"):
        new_pair("lab-1", tmp_path, None)
    private.chmod(0o640)
    with pytest.raises(DataError, match="others may read"):
        private_key(private, None)
    for name in ("../x", "", "-x", "a b"):
        with pytest.raises(DataError, match="no name for a key"):
            new_pair(name, tmp_path, None)
    assert public.read_text(encoding="ascii").startswith("-----BEGIN PUBLIC KEY-----")


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    private, _ = new_pair("lab", tmp_path, "secret")
    assert is_encrypted(private)
    private_key(private, "secret")
    for password in (None, "", "wrong"):
        with pytest.raises(DataError, match="password"):
            private_key(private, password)


def test_only_named_guarded_ed25519_keys_are_trusted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="trusted keys cannot be read"):
        trusted_keys(tmp_path / "none")
    with pytest.raises(DataError, match="holds no trusted key"):
        trusted_keys(tmp_path)
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = curve.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "curve.pem").write_bytes(pem)
    with pytest.raises(DataError, match="is not an Ed25519 key"):
        trusted_keys(tmp_path)
    (tmp_path / "curve.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n")
    with pytest.raises(DataError, match="is no public key in PEM"):
        trusted_keys(tmp_path)
    (tmp_path / "curve.pem").unlink()
    new_pair("lab", tmp_path, None)
    (tmp_path / "lab.pem").chmod(0o646)
    with pytest.raises(DataError, match=r"anybody may write.*chmod o-w"):
        trusted_keys(tmp_path)
    (tmp_path / "lab.pem").chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(DataError, match="anybody may write"):
        trusted_keys(tmp_path)


def test_a_key_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lab.pem")
    with pytest.raises(DataError, match="is not a regular file"):
        trusted_keys(tmp_path)


def test_a_record_that_was_damaged_is_refused_in_one_line() -> None:
    slot = slot_of(manifest_of(b"m"), "0" * 16, "lab", "2026-01-02T03:04:05Z")
    content = state_bytes(State().installed(slot, "2026-01-02T03:04:05Z"))
    assert parse_state(content, "state.json").active == "a"
    changes = [
        (b'"active": "a"', b'"active": "b"'),
        (b'"starts": 0', b'"starts": -1'),
        (b'"folder": "0', b'"folder": "/'),
        (b'"format": 1', b'"format": 2'),
        (b"{", b"["),
    ]
    for old, new in changes:
        assert old in content
        with pytest.raises(DataError, match=r"state\.json: .*install the model again") as error:
            parse_state(content.replace(old, new, 1), "state.json")
        assert "\n" not in str(error.value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_a_record_of_any_bytes_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_state(b"{" + content, "state.json")
