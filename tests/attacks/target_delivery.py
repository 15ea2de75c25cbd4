"""Attacks on what brings models to a device: bundles, keys, and the store's record."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from deliveries import KEYS, PRIVATE, bundle_of, manifest_of
from frame import Finding, Target, refused_or, run_line
from tiny_model import tiny_model

from qlvit_edge.delivery.bundle import pack, signed_bytes, unpack
from qlvit_edge.delivery.keys import private_key, trusted_keys
from qlvit_edge.delivery.manifest import Manifest
from qlvit_edge.delivery.state import State, parse_state, slot_of, state_bytes
from qlvit_edge.files import sha256

Prepared = tuple[Sequence[bytes], Callable[[bytes], bool]]

_HEAD = 84
_MANIFEST = (
    b'"version":"9.9"',
    b'"targets":[]',
    b'"bytes":-1',
    b'"name":"../x"',
    b'"kind":"chain"',
)
_PEM = form.Encoding.PEM


def _bundle() -> bytes:
    model = tiny_model()
    return bundle_of(model, manifest_of(model))


def signed_anew(chosen: random.Random, content: bytes) -> bytes:
    """Change the manifest and sign it again, as one who has the key and means ill."""
    (length,) = struct.unpack_from("<I", content, 16)
    text, model = bytearray(content[_HEAD : _HEAD + length]), content[_HEAD + length :]
    for _ in range(chosen.choice((1, 1, 3))):
        if chosen.random() < 0.3 and text.startswith(b"{"):
            text[1:1] = chosen.choice(_MANIFEST) + b","
        elif text:
            text[chosen.randrange(len(text))] = chosen.choice((*b'"{}[],:0-e\\', 0, 255, 27))
    return pack(bytes(text), PRIVATE.sign(signed_bytes(bytes(text))), model)


def prepare_bundle(folder: Path) -> Prepared:
    keys = folder / "keys"
    keys.mkdir(mode=0o755)
    public = PRIVATE.public_key().public_bytes(_PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (keys / "lab.pem").write_bytes(public)
    path, count = folder / "a.qlvit", [0]

    def examine(content: bytes) -> bool:
        count[0] += 1
        if count[0] % 20 == 0:  # as it is typed
            path.write_bytes(content)
            return run_line("models", "verify", path, "--keys", keys)

        def read() -> None:
            found = unpack(content, KEYS, "a.qlvit")
            if found.head + found.model != content or sha256(found.model) != found.manifest.sha256:
                raise Finding("what is taken is not what was signed")
            if not isinstance(found.manifest, Manifest):
                raise Finding("no manifest")

        return refused_or(read)

    return [_bundle()], examine


def prepare_key(folder: Path) -> Prepared:
    keys = folder / "keys"
    keys.mkdir(mode=0o755)
    public, private = keys / "lab.pem", folder / "lab.key"

    def examine(content: bytes) -> bool:
        public.write_bytes(content)
        private.write_bytes(content)
        private.chmod(0o600)
        trusted = refused_or(lambda: trusted_keys(keys))
        return refused_or(lambda: private_key(private, None)) or trusted

    plain, locked = form.NoEncryption(), form.BestAvailableEncryption(b"word")
    return [
        PRIVATE.public_key().public_bytes(_PEM, form.PublicFormat.SubjectPublicKeyInfo),
        PRIVATE.private_bytes(_PEM, form.PrivateFormat.PKCS8, plain),
        PRIVATE.private_bytes(_PEM, form.PrivateFormat.PKCS8, locked),
    ], examine


def prepare_record(_folder: Path) -> Prepared:
    def examine(content: bytes) -> bool:
        return refused_or(lambda: parse_state(content, "state.json"))

    model = tiny_model()
    slot = slot_of(manifest_of(model), "0" * 16, "lab", "2026-01-02T03:04:05Z")
    return [state_bytes(State(active="a", slots={"a": slot, "b": None}, starts=2))], examine


_WORDS = [b'"', b"{", b"}", b"[", b"null", b'"\\ud800"', b"\0", json.dumps("\x1b[2J").encode()]

TARGETS = (
    Target("bundle", prepare_bundle, _WORDS, change=signed_anew),
    Target("key", prepare_key, [b"-----BEGIN ", b"-----END ", b"=", b"\n", b"EC "]),
    Target("store-record", prepare_record, _WORDS),
)
