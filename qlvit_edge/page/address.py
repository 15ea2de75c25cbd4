"""Where the page is served: parsing HOST:PORT, and which names a browser may call it by."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from qlvit_edge.errors import AddressError

DEFAULT_PORT = 8321


@dataclass(frozen=True)
class Address:
    """Host and port to listen on.

    Attributes:
        host: a name or an IP address, without brackets.
        port: 0 to 65535; 0 for any that is free.
    """

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def listen(self) -> socket.socket:
        """Open the socket.

        Raises:
            AddressError: the address is not this machine's, or the port is taken or reserved.
        """
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name could be written so
            raise self._unusable(error) from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise self._unusable(error) from None
        return listener

    def _unusable(self, error: OSError | UnicodeError) -> AddressError:
        finding = error.strerror if isinstance(error, OSError) else "that is no name of a machine"
        return AddressError(
            f"page at {authority(self.host, self.port)}",
            f"the page cannot be served there: {finding or error}",
            "name another HOST:PORT",
        )


def parse_address(text: str) -> Address:
    """Return the address in ``HOST:PORT``, ``HOST``, ``:PORT``, ``PORT`` or ``[IPv6]:PORT``.

    Raises:
        AddressError: it is none.
    """
    wrong = AddressError(f"page at {text}", "that is no address to serve it on", "give HOST:PORT")
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise wrong
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    elif text.isdecimal():
        host, port = "", text
    number = port or str(DEFAULT_PORT)
    if len(number) > 5 or not number.isascii() or not number.isdecimal() or int(number) > 65535:
        raise wrong
    if any(character in host for character in "/@? #") or (not host and not port):
        raise wrong
    return Address(host or "127.0.0.1", int(number))


def authority(host: str, port: int) -> str:
    """Return host and port as they stand in an address; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def outside_address() -> str:
    """Return the IPv4 address that other machines reach this one by; its name if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation; nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def own_names() -> set[str]:
    """Return the names of this machine, in lower case."""
    name = socket.gethostname().lower()
    return {name, f"{name.split('.')[0]}.local", "localhost"}


def is_own_host(header: str, address: Address) -> bool:
    """Return whether a request's Host header may name this server.

    A name that is not ours is DNS rebinding: a foreign site whose name was made to point here.
    An IP address cannot be rebound, but a page that is local is called by local ones only.
    """
    host = header.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    else:
        host = host.rpartition(":")[0] if ":" in host else host
    if address.is_local:
        return bool(host) and Address(host, 0).is_local
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in own_names() | {address.host.lower()}
    return True
