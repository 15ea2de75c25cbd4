"""Addresses as they are shown and stored: without user, password and tokens.

`masked` is the only place that does this. Every error's text goes through it, and so does
what a run stores and prints. A secret that is part of a path (``http://host/SECRET/video``)
cannot be told from a name: give such a camera a user and password instead.
"""

from __future__ import annotations

import re

HIDDEN = "***"

HARMLESS = frozenset(
    {"action", "cam", "camera", "channel", "codec", "compression", "fps", "format", "framerate"}
    | {"h", "height", "mode", "page", "profile", "quality", "res", "resolution", "rotation"}
    | {"seed", "size", "stream", "streamtype", "subtype", "type", "video", "w", "width"}
)
"""Settings in an address whose values are shown; those of all others are hidden."""

_SCHEME = r"(?i:(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*:/+)"
_HOST_END = r"(?=[/?#\s<>]|$|[:;,.)\]'\"]+(?:\s|$))"
_DIGITS = rf"[0-9]{{0,5}}{_HOST_END}"
# With a port, a name needs a dot: "alice:12/3@host" is no host with a port but a user.
_HOST = (
    rf"(?:[^\s/?#@:]*{_HOST_END}"
    rf"|(?:\[[^\s/\]]*\]|localhost|[^\s/?#@:]+\.[^\s/?#@:]*)(?::{_DIGITS}|{_HOST_END}))"
)

# Up to the last @ of the word, or, where a password holds spaces, of the line.
_USER = re.compile(rf"({_SCHEME})(?!{_HOST})(?:\S*@|[^\n]*@)")

# "http://alice:password", where the host was forgotten.
_NO_HOST = re.compile(rf"({_SCHEME}[^\s/?#@:\[]+:)(?!{_DIGITS})[^\s/?#@]+")

# "alice:password@host" without a scheme.
_NO_SCHEME = re.compile(r"(?<![^\s'\"(=])[^\s/:@'\"(=]+:[^\s/]+@(?=[\w\[.-])")

_ADDRESS = re.compile(rf"{_SCHEME}\S*")
_SETTING = re.compile(r"([?&;#])([^?&;#=\s]*)(=?)([^&;#\s]*?)(?=[:;,.)'\"]*(?:[&;#\s]|$))")


def masked(text: str) -> str:
    """Return ``text`` with the secrets of every address in it hidden.

    User and password become ``***``, whatever they are made of (``@``, ``:``, ``/``, ``#``,
    ``%40``); so do the values of settings that are not known to be harmless
    (``?token=***&fps=5``), and what follows ``#``.

    Args:
        text: an address alone, or any text that may hold some, such as a traceback.
    """
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _NO_HOST.sub(rf"\1{HIDDEN}", text)
    text = _NO_SCHEME.sub(f"{HIDDEN}@", text)
    return _ADDRESS.sub(lambda address: _SETTING.sub(_hide, address[0]), text)


def _hide(setting: re.Match[str]) -> str:
    mark, name, equals, _ = setting.groups()
    if mark == "#":
        return f"#{HIDDEN}"
    if not equals:
        return f"{mark}{name if name.lower() in HARMLESS or not name else HIDDEN}"
    return setting[0] if name.lower() in HARMLESS else f"{mark}{name}={HIDDEN}"
