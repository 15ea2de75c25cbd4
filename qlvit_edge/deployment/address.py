"""Where a device is: USER@HOST, as `ssh` takes it, and nothing that `ssh` takes for an option."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qlvit_edge.errors import DeviceError

_FORM = re.compile(
    r"(?:(?P<user>[A-Za-z_][A-Za-z0-9_.-]*)@)?"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)",
    re.ASCII,
)


@dataclass(frozen=True)
class Address:
    """A device as `ssh` knows it.

    Attributes:
        user: who logs in; None leaves it to the configuration of `ssh`.
        host: a name, an alias of that configuration, or an IP address.
    """

    user: str | None
    host: str

    def __str__(self) -> str:
        """USER@HOST, or HOST."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


def parsed(text: str) -> Address:
    """Read USER@HOST or HOST.

    Raises:
        DeviceError: it is something else, such as an option of `ssh` or an address with a port.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise DeviceError(
            text or "HOST", "is no USER@HOST", "such as pi@microscope; a port goes to --port"
        )
    return Address(found["user"], found["host"])
