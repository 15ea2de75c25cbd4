"""Files that a person names, read within bounds: size, depth, digits, and no waiting."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from qlvit_edge.interruption import held_back
from qlvit_edge.text import plain

MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_JSON_DIGITS = 100
"""Of one number: the largest float has 309, no count or hash of ours more than 20."""


class UnreadableFileError(ValueError):
    """A file that cannot be what it should be; the text says what was found, as in an error."""


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    A pipe or device is refused without waiting for it.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFileError: it is a folder, no regular file, too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(f"cannot be read ({reason.lower()})") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableFileError("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError("is not a regular file")
        if status.st_size > limit:
            raise UnreadableFileError(f"has {status.st_size:,} bytes, at most {limit:,} are read")
        # A file of /proc says 0 bytes and has more; one may grow while it is read.
        with held_back(), os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UnreadableFileError(f"cannot be read ({reason})") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnreadableFileError(f"has more than {limit:,} bytes")
    return content


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file that a person named; see `parse_json`.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFileError: it is no regular file, too large, or not such JSON.
    """
    return parse_json(read_regular(path, limit))


def parse_json(content: bytes) -> Any:
    """Return what JSON in UTF-8 says, if it says one thing and only finite numbers.

    Raises:
        UnreadableFileError: not JSON, nested too deeply, a key twice in one object, a number
            that is not finite or of more than `MAX_JSON_DIGITS` digits, half a letter.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnreadableFileError:
        raise
    except RecursionError:
        raise UnreadableFileError("is nested too deeply") from None
    except UnicodeEncodeError:
        raise UnreadableFileError("holds half a letter (a lone surrogate)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFileError(f"is not JSON ({error})") from None
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:
        raise UnreadableFileError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _real(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise UnreadableFileError(f"holds {text[:20]}, which is too large a number")
    return value


def _no_number(text: str) -> NoReturn:
    raise UnreadableFileError(f"holds {text}, which is not a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableFileError(f"holds the key {plain(twice[:60])!r} twice in one object")
    return found
