"""What `deploy` takes for a device is never an option of `ssh`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.deployment.address import Address, parsed
from qlvit_edge.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "user", "host"),
    [
        ("pi@microscope", "pi", "microscope"),
        ("microscope.lab.example", None, "microscope.lab.example"),
        ("svc_1.a-b@192.0.2.7", "svc_1.a-b", "192.0.2.7"),
        ("pi@fe80::1", "pi", "fe80::1"),
    ],
)
def test_addresses(text: str, user: str | None, host: str) -> None:
    assert parsed(text) == Address(user, host)
    assert str(parsed(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "pi@", "@host", "-oProxyCommand=id", "pi@-oProxyCommand=id", "-l@host"),
        *("pi@h:22", "ssh://pi@host", "a b@host", "pi@ho st", "pi@host\n", "a@b@c"),
        *("\uff50i@host", "pi@h\u0151st"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parsed(text)
    assert "such as pi@microscope" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_nothing_that_begins_with_a_dash_passes(text: str) -> None:
    try:
        found = parsed(text)
    except DeviceError:
        return
    for part in (found.user or "u", found.host):
        assert not part.startswith("-")
        assert part.isascii()
        assert not set(part) & set(" \t\n'\"$`;&|<>()")
