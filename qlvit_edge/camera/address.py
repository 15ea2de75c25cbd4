"""Addresses of cameras in the network, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from qlvit_edge.credentials import masked
from qlvit_edge.errors import CameraError

_REMEDY = "write http://HOST/PATH or http://HOST:8080/PATH, and %2F for a / in a password"


@dataclass(frozen=True)
class Address:
    """An address of a network camera.

    Attributes:
        url: without user, password and fragment.
        shown: for messages and results, see `qlvit_edge.credentials.masked`.
        user: the user's name, None where the address names none.
        password: may be empty.
    """

    url: str
    shown: str
    user: str | None
    password: str


def read_address(source: str) -> Address:
    """Take an ``http://`` or ``https://`` address apart.

    Raises:
        CameraError: it names no host, an impossible port, or holds spaces or control characters.
    """
    shown = masked(source)
    if re.search(r"[\s\x00-\x1f\x7f]", source):
        raise CameraError(ascii(shown), "the address holds a space", "write %20 for a space")
    try:
        # A password may hold what an address may not: the last @ before the path counts.
        scheme, _, rest = source.partition("://")
        place, path = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
        credentials, at, host = place.rpartition("@")
        parts = urlsplit(f"{scheme}://{host}{path}")
        port = parts.port
    except ValueError:  # whose text may hold a part of the password
        raise CameraError(shown, "its host or port is impossible", _REMEDY) from None
    if not parts.hostname or port == 0:
        raise CameraError(shown, "the address names no host", _REMEDY)
    user, _, password = credentials.partition(":")
    return Address(_plain(parts), shown, unquote(user) if at and user else None, unquote(password))


def _plain(parts: SplitResult) -> str:
    host = parts.netloc
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        host = host.encode("idna").decode("ascii")
    return parts._replace(netloc=host, fragment="").geturl()
