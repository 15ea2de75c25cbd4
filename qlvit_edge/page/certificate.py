"""A certificate for this machine's page, made when it is first needed.

Nobody vouches for it: a browser asks once whether to trust it, and the fingerprint that `run`
prints is what to compare.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import re
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.page.address import outside_address, own_names

VALID_DAYS = 730
_PEM = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----([^-]+)-----END (?:X509 )?CERTIFICATE-----"
)
_RENEW_BEFORE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key.

    Attributes:
        chain: PEM file with the certificate, and those that vouch for it.
        key: PEM file with the private key.
    """

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a server's TLS settings.

        Raises:
            DataError: a file is missing, is no PEM, or the two do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # A password of its own: OpenSSL would otherwise ask for one on the terminal.
            context.load_cert_chain(self.chain, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise DataError(
                self.chain,
                f"no certificate that goes with the key {self.key}: {error}",
                "give --certificate and --key as PEM files without a password",
            ) from None
        return context

    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate as browsers show it: pairs of hex digits.

        Raises:
            DataError: the file holds it in another form than PEM's usual one.
        """
        # OpenSSL took the file, but in more spellings than one, and with notes in any encoding.
        first = _PEM.search(self.chain.read_bytes())
        try:
            der = b"" if first is None else base64.b64decode(first[1])
        except ValueError:
            der = b""
        if not der:
            raise DataError(
                self.chain,
                "its first certificate is not plain PEM",
                "give --certificate as a file that begins with -----BEGIN CERTIFICATE-----",
            )
        digest = hashlib.sha256(der).hexdigest().upper()
        return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def own_folder() -> Path:
    """Return where the page's certificate is kept.

    Raises:
        DataError: this user has no home folder.
    """
    named = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(named):  # others are to be ignored, says the XDG specification
        return Path(named) / "qlvit-edge" / "page"
    try:
        home = Path.home()
    except RuntimeError:
        raise DataError(
            "--serve",
            "the page's certificate cannot be kept: this user has no home folder",
            "set HOME or XDG_DATA_HOME, or give --certificate and --key",
        ) from None
    return home / ".local" / "share" / "qlvit-edge" / "page"


def own_certificate(folder: Path) -> Certificate:
    """Return the certificate in a folder; made, if there is none or it has run out.

    Raises:
        DataError: the folder cannot be written.
    """
    found = Certificate(folder / "certificate.pem", folder / "key.pem")
    try:
        if not _is_valid(found):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(found)
        if stat.S_IMODE(found.key.stat().st_mode) & 0o077:
            found.key.chmod(0o600)
    except OSError as error:
        raise DataError(
            folder,
            f"the page's certificate cannot be kept there: {error.strerror or error}",
            "make the folder writable, or give --certificate and --key",
        ) from None
    return found


def _is_valid(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        loaded = x509.load_pem_x509_certificate(certificate.chain.read_bytes())
        certificate.context()
    except (FileNotFoundError, ValueError, DataError):
        return False
    now = datetime.datetime.now(datetime.UTC)
    return loaded.not_valid_before_utc <= now < loaded.not_valid_after_utc - _RENEW_BEFORE


def _make(certificate: Certificate) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, socket.gethostname()[:64])])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(each) for each in sorted(own_names())]
    for text in ("127.0.0.1", "::1", outside_address()):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            continue
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8
    _write(certificate.key, key.private_bytes(pem, plain, serialization.NoEncryption()))
    _write(certificate.chain, made.public_bytes(pem))


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
    aside.replace(path)
