"""Nothing secret of an address is ever shown, and everything else of it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.credentials import HARMLESS, masked
from qlvit_edge.errors import CameraError

SCHEMES = st.sampled_from(["http://", "https://", "rtsp://", "RTSP://", "http:/", "rtmp:///"])
# Letters that a host or a path of the examples does not have: what is seen of them was leaked.
SECRETS = st.text(st.sampled_from("XYZ:@/?#&=;%.,'40!$"), min_size=3).filter(
    lambda text: any(letter in text for letter in "XYZ")
)


def leaks(shown: str) -> bool:
    return any(letter in shown for letter in "XYZ")


@given(SCHEMES, SECRETS, st.sampled_from(["host", "10.0.0.5:8080", "[::1]:80", "cam.lab"]))
@settings(max_examples=300)
def test_no_part_of_a_password_is_shown(scheme: str, secret: str, host: str) -> None:
    source = f"{scheme}alice:{secret}@{host}/video?fps=5"
    for text in (source, f"error: '{source}': no answer; check it", f"{source}: no answer"):
        shown = masked(text)
        assert not leaks(shown)
        assert "alice" not in shown
        assert f"***@{host}/video?fps=5" in shown
        assert masked(shown) == shown


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("http://TOKEN@host/stream", "http://***@host/stream"),
        ("http://:pw@host", "http://***@host"),
        ("http://alice:p@ss@host:81/", "http://***@host:81/"),
        ("http://alice:p%40ss@host:81/", "http://***@host:81/"),
        ("http://alice:1234/5@host/", "http://***@host/"),
        ("http://alice:my secret@host/", "http://***@host/"),
        ("alice:secret@host/stream", "***@host/stream"),
        ("http://alice:secret", "http://alice:***"),
        ("http://h/v?token=a.b&fps=5&key=x", "http://h/v?token=***&fps=5&key=***"),
        ("http://h/v?usr=admin&pwd=a;b", "http://h/v?usr=***&pwd=***;***"),
        ("http://h/v?SECRET", "http://h/v?***"),
        ("http://h/v#SECRET", "http://h/v#***"),
        ("http://10.0.0.2:80/?action=stream", "http://10.0.0.2:80/?action=stream"),
        ("http://10.0.0.2:8080/cam@2", "http://10.0.0.2:8080/cam@2"),
        ("http://microscope/cam@2", "http://microscope/cam@2"),
        ("http://[fe80::1]:8080/stream", "http://[fe80::1]:8080/stream"),
        ("http://host", "http://host"),
        ("http://host:8080", "http://host:8080"),
        ("simulated:fields?seed=3&fps=5", "simulated:fields?seed=3&fps=5"),
        ("simulated:/data/fields?seed=3&fps=5", "simulated:/data/fields?seed=3&fps=5"),
        ("usb:0", "usb:0"),
        ("/data/a@b/video 1.mp4", "/data/a@b/video 1.mp4"),
        ("http://host: 401: wrong password", "http://host: 401: wrong password"),
        ("http://h:80/x: no answer; check", "http://h:80/x: no answer; check"),
    ],
)
def test_secrets_go_and_the_rest_stays(source: str, shown: str) -> None:
    assert masked(source) == shown
    assert masked(shown) == shown


def test_two_addresses_in_a_text_keep_what_stands_between_them() -> None:
    text = "http://a:b@one/x failed\n  see rtsp://c:d@two/y?token=e, or alice:f@three."
    assert masked(text) == (
        "http://***@one/x failed\n  see rtsp://***@two/y?token=***, or ***@three."
    )


def test_harmless_settings_are_not_names_of_secrets() -> None:
    secret = ("pass", "pwd", "token", "secret", "key", "auth", "user", "usr", "login", "sig")
    assert not [name for name in HARMLESS if any(part in name for part in secret)]


def test_every_error_hides_them() -> None:
    error = CameraError("http://alice:s3cret@host/", "no answer", "check http://x/?token=abc")
    assert str(error) == "http://***@host/: no answer; check http://x/?token=***"
