"""A bundle: manifest, signature and model in one file that can be read in one way only.

::

    16 bytes   "QLViT bundle 1" and two zeros
     4 bytes   length of the manifest, little-endian
    64 bytes   Ed25519 signature over "qlvit-edge bundle 1", a line feed, and the manifest
     …         the manifest, JSON
     …         the model, to the end of the file: as many bytes as the manifest says

There are no names or links that could lead anywhere, nothing is compressed, and nothing can stand
twice or behind the end. Before a byte of the manifest is looked at, its signature is verified;
before one of the model is, its hash.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.delivery.keys import TrustedKey, signer_of
from qlvit_edge.delivery.manifest import (
    MOST_MANIFEST_BYTES,
    MOST_MODEL_BYTES,
    Manifest,
    parse_manifest,
)
from qlvit_edge.errors import ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.reading import UnreadableFileError, read_regular

SUFFIX = ".qlvit"
_MAGIC = b"QLViT bundle 1\0\0"
_SIGNED = b"qlvit-edge bundle 1\n"
_HEAD = struct.Struct("<16sI64s")
MOST_HEAD_BYTES = _HEAD.size + MOST_MANIFEST_BYTES
MOST_BUNDLE_BYTES = MOST_HEAD_BYTES + MOST_MODEL_BYTES
_WHOLE = "copy it again, or ask for it again"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature and hash were verified.

    Attributes:
        manifest: what it says.
        key: name of the trusted key that signed it.
        head: the file's bytes before the model.
        model: the model's.
    """

    manifest: Manifest
    key: str
    head: bytes
    model: bytes


def signed_bytes(manifest: bytes) -> bytes:
    """Return what the signature is over: a key of ours signs nothing else that begins so."""
    return _SIGNED + manifest


def pack(manifest: bytes, signature: bytes, model: bytes) -> bytes:
    """Return a bundle's file."""
    return _HEAD.pack(_MAGIC, len(manifest), signature) + manifest + model


def unpack(content: bytes, keys: Sequence[TrustedKey], subject: object) -> Bundle:
    """Verify a bundle and return what is in it.

    Args:
        content: the whole file.
        keys: whose signatures count.
        subject: what errors call it.

    Raises:
        ModelFileError: it is none, is damaged, or no trusted key signed it. No other exception
            leaves this function, whatever the bytes are.
    """
    if len(content) > MOST_BUNDLE_BYTES:
        finding = f"has {len(content):,} bytes, at most {MOST_BUNDLE_BYTES:,} are read"
        raise ModelFileError(subject, finding, "give a smaller model")
    _require_magic(content, subject)
    if len(content) < _HEAD.size:
        raise ModelFileError(subject, "is truncated", _WHOLE)
    _, length, signature = _HEAD.unpack_from(content)
    if length > MOST_MANIFEST_BYTES:
        raise ModelFileError(subject, f"its manifest has {length:,} bytes", _WHOLE)
    start = _HEAD.size + length
    if len(content) < start:
        raise ModelFileError(subject, "is truncated", _WHOLE)
    text, model = content[_HEAD.size : start], content[start:]
    key = signer_of(signed_bytes(text), signature, keys, subject)
    manifest = parse_manifest(text, subject)
    if len(model) != manifest.bytes:
        what = "is truncated" if len(model) < manifest.bytes else "goes on behind its end"
        finding = f"{what}: {len(model):,} bytes of a model that has {manifest.bytes:,}"
        raise ModelFileError(subject, finding, _WHOLE)
    if sha256(model) != manifest.sha256:
        raise ModelFileError(subject, "its model is not the one that was signed", _WHOLE)
    return Bundle(manifest, key, content[:start], model)


def require_bundle(path: Path) -> None:
    """Look whether a file is a bundle at all, without asking who signed it.

    Raises:
        ModelFileError: it begins as none, or see `read_file`.
    """
    _require_magic(read_file(path, MOST_BUNDLE_BYTES), path)


def _require_magic(content: bytes, subject: object) -> None:
    if content[: len(_MAGIC)] != _MAGIC:
        remedy = "give a file that `qlvit-edge models sign` made"
        raise ModelFileError(subject, "is no bundle", remedy)


def read_bundle(path: Path, keys: Sequence[TrustedKey]) -> Bundle:
    """Read a bundle's file and verify it; see `unpack`.

    Raises:
        ModelFileError: see `unpack`; or there is no such file.
    """
    return unpack(read_file(path, MOST_BUNDLE_BYTES), keys, path)


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a file that is part of a bundle or a store.

    Raises:
        ModelFileError: it is missing, no regular file, too large, or cannot be read.
    """
    try:
        return read_regular(path, limit)
    except FileNotFoundError:
        raise ModelFileError(path, "no such file", "check the name") from None
    except UnreadableFileError as error:
        raise ModelFileError(path, str(error), "check the file and its permissions") from None
