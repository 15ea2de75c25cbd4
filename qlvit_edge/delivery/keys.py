"""Who is believed: Ed25519 keys in PEM files, and their names.

A device trusts the public keys that lie in one folder, each called like its file. A private key
stays where models are signed, readable by its owner only. The package `cryptography` (extra
`sign`) is imported where a key is used.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qlvit_edge.delivery.manifest import NAME
from qlvit_edge.errors import DataError, ModelFileError
from qlvit_edge.files import require_target
from qlvit_edge.reading import UnreadableFileError, read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

KEYS_VARIABLE = "QLVIT_EDGE_KEYS"
DEFAULT_KEYS = Path("/etc/qlvit-edge/keys")
PUBLIC_SUFFIX, PRIVATE_SUFFIX = ".pem", ".key"
MOST_KEYS = 64
_MOST_KEY_BYTES = 8 * 1024
_NEW = "make one: qlvit-edge models keys new NAME"


@dataclass(frozen=True)
class TrustedKey:
    """A public key that the device believes.

    Attributes:
        name: of its file, without the ending.
        key: the key.
    """

    name: str
    key: Ed25519PublicKey


def keys_folder(named: Path | None = None) -> Path:
    """Return the folder of trusted keys: the one named, else ``QLVIT_EDGE_KEYS``, else /etc."""
    return named or Path(os.environ.get(KEYS_VARIABLE) or DEFAULT_KEYS)


def trusted_keys(folder: Path) -> list[TrustedKey]:
    """Read the trusted keys, by name.

    Raises:
        DataError: there is no folder, anybody may write there, or a file in it is no public key.
    """
    try:
        _require_guarded(folder)
        names = sorted(name for name in os.listdir(folder) if name.endswith(PUBLIC_SUFFIX))
    except OSError as error:
        finding = f"trusted keys cannot be read ({(error.strerror or str(error)).lower()})"
        remedy = f"put the public keys of those who sign there, NAME{PUBLIC_SUFFIX}, or name --keys"
        raise DataError(folder, finding, remedy) from None
    if not names:
        finding = f"holds no trusted key (NAME{PUBLIC_SUFFIX})"
        raise DataError(folder, finding, "put the public keys of those who sign there")
    if len(names) > MOST_KEYS:
        raise DataError(folder, f"holds {len(names)} keys", f"leave at most {MOST_KEYS} there")
    return [_public_key(folder / name) for name in names]


def signer_of(content: bytes, signature: bytes, keys: Sequence[TrustedKey], subject: object) -> str:
    """Return the name of the trusted key that signed some bytes.

    Raises:
        ModelFileError: none did, or the bytes were changed since.
    """
    from cryptography.exceptions import InvalidSignature

    for trusted in keys:
        try:
            trusted.key.verify(signature, content)
        except InvalidSignature:
            continue
        return trusted.name
    names = ", ".join(trusted.name for trusted in keys)
    raise ModelFileError(
        subject,
        f"no key that this device trusts ({names}) signed it as it is",
        "give a bundle that was not changed, or trust the key of whoever signed it",
    )


def new_pair(name: str, folder: Path, password: str | None) -> tuple[Path, Path]:
    """Make a key pair; returns the private key's file, mode 0600, and the public key's.

    Raises:
        DataError: the name is none, or a file of that name is there.
        OSError: the folder cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if re.fullmatch(NAME, name) is None:
        raise DataError(name, "is no name for a key", "use letters, digits, '.', '_' and '-'")
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / f"{name}{PRIVATE_SUFFIX}", folder / f"{name}{PUBLIC_SUFFIX}"
    for path in (private, public):
        if os.path.lexists(path):
            raise DataError(path, "is there already", "choose another name; keys are not replaced")
    key = Ed25519PrivateKey.generate()
    lock: form.KeySerializationEncryption = form.NoEncryption()
    if password:
        lock = form.BestAvailableEncryption(password.encode("utf-8"))
    _write_new(private, key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock), 0o600)
    try:
        content = key.public_key().public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        )
        _write_new(public, content, 0o644)
    except OSError:
        private.unlink()
        raise
    return private, public


def is_encrypted(path: Path) -> bool:
    """Tell whether a private key's file asks for a password.

    Raises:
        DataError: it cannot be read.
    """
    return b"ENCRYPTED PRIVATE KEY" in _key_bytes(path)


def private_key(path: Path, password: str | None) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        DataError: others may read the file, it is no Ed25519 key, or the password is wrong.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _key_bytes(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DataError(path, "others may read this private key", f"chmod 600 {path}")
    try:
        key = load_pem_private_key(content, None if not password else password.encode("utf-8"))
    except TypeError:
        finding = "needs no password" if password else "needs its password"
        raise DataError(path, finding, "see `qlvit-edge models sign --help`") from None
    except Exception:  # ValueError, UnsupportedAlgorithm: a wrong password is a damaged file
        finding = "is no private key in PEM, or the password is wrong"
        raise DataError(path, finding, _NEW) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(path, "is not an Ed25519 key", _NEW)
    return key


def _public_key(path: Path) -> TrustedKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    remedy = "put an Ed25519 public key in PEM there, or take the file away"
    name = path.name.removesuffix(PUBLIC_SUFFIX)
    if re.fullmatch(NAME, name) is None:
        raise DataError(path, "its name is no name for a key", "use letters, digits, '.', '_', '-'")
    content = _key_bytes(path)
    _require_guarded(path)
    try:
        key = load_pem_public_key(content)
    except Exception:
        raise DataError(path, "is no public key in PEM", remedy) from None
    if not isinstance(key, Ed25519PublicKey):
        raise DataError(path, "is not an Ed25519 key", remedy)
    return TrustedKey(name, key)


def _require_guarded(path: Path) -> None:
    """Refuse a key, or a folder of keys, that anybody may replace."""
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH:
        finding = "anybody may write to what this device trusts"
        raise DataError(path, finding, f"chmod o-w {path}, and look whose keys lie there")


def _key_bytes(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_KEY_BYTES)
    except FileNotFoundError:
        raise DataError(path, "no such file", "check the name") from None
    except UnreadableFileError as error:
        raise DataError(path, str(error), "check the file and its permissions") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    require_target(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
