"""Attack on the configuration of a service: TOML that sets what `run` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from frame import Target, refused_or, run_line

from qlvit_edge.cli.run import command
from qlvit_edge.configuration.document import read_document

SHIPPED = Path(__file__).resolve().parents[2] / "firmware_scripts" / "run.toml"


def prepare(folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
    path, count = folder / "run.toml", [0]

    def examine(content: bytes) -> bool:
        path.write_bytes(content)
        path.chmod(0o640)
        count[0] += 1
        if count[0] % 20 == 0:  # as it is typed
            return run_line("config", "check", path)
        return refused_or(lambda: read_document(path, command))

    shipped = SHIPPED.read_bytes()
    every = shipped.replace(b"\n#", b"\n").replace(b"\n ", b"\n# ")
    return [b'model = "blood-nano"\ncamera = "usb:0"\nout = "r.sqlite"\n', shipped, every], examine


_WORDS = [
    *(
        b'"',
        b"'",
        b"=",
        b"[",
        b"]",
        b"{",
        b"\n",
        b"\0",
        b"\x1b[2J",
        b"\xff",
        b'"""',
        b"true",
        b"-1",
    ),
    *(b"model = 5\n", b'find = "region:1,2"\n', b"frames = 99999999999999999999\n", b"1979-05-27"),
    *(b"[run]\n", b'camera = "http://a:b@c/"\n', b"threads = 1e9\n", b"accept-at = nan\n", b"inf"),
]

TARGETS = (Target("configuration", prepare, _WORDS),)
