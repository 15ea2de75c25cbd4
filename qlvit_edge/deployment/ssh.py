"""Commands on a device, and files to it and from it, through the `ssh` of this machine.

Everything goes through `ssh` itself, with the user's own configuration: keys, aliases, jump hosts.
Host keys are always checked, and nobody is asked for a password: what runs here may run from a
timer. The device needs a shell and the usual `dd`, `stat`, `sha256sum`, `mkdir`, `rm` and `cat`.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qlvit_edge.deployment.address import Address
from qlvit_edge.errors import DeviceError
from qlvit_edge.text import plain

PIECE = 1 << 18
"""Bytes that are sent at a time."""

MOST_ANSWER = 64 << 20
"""Bytes that a device may answer with."""

LOST = 255
"""What `ssh` exits with when it is `ssh` that failed, not the command."""

_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4", "-o", "LogLevel=INFO"),
    *("-o", "ClearAllForwardings=yes", "-T"),
)

_AGAIN = (
    "look whether it is on and in this network, then run the same command again: it goes on "
    "where it stopped"
)
_COMPARE = (
    "compare its key with the one on the device itself "
    "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once with ssh"
)
_LET_IN = "give it this machine's public key (ssh-copy-id), or name another with --identity"
_CAUSES = (
    (
        "host key verification failed",
        "its host key is not known here, or not the one known here",
        _COMPARE,
    ),
    ("permission denied", "it does not let this user in", _LET_IN),
    ("connection refused", "no SSH server answers there", _AGAIN),
    ("could not resolve hostname", "no such host is known", _AGAIN),
    ("timed out", "it does not answer", _AGAIN),
    ("no route to host", "it cannot be reached", _AGAIN),
    ("network is unreachable", "it cannot be reached", _AGAIN),
)
"""What `ssh` says → what that means, and what to do."""


@dataclass(frozen=True)
class Answer:
    """What a command on the device left.

    Attributes:
        code: its exit code.
        output: what it wrote.
        said: what it wrote to its standard error, made harmless.
    """

    code: int
    output: bytes
    said: str

    @property
    def last_line(self) -> str:
        """The last line of its standard error; "" where there is none."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


class Device:
    """A device that is reached over SSH.

    Attributes:
        address: where it is.
    """

    def __init__(
        self,
        address: Address,
        *,
        port: int | None = None,
        identity: Path | None = None,
        known_hosts: Path | None = None,
    ) -> None:
        """Note how it is reached; nothing is sent yet.

        Args:
            address: where it is.
            port: of its SSH server; None leaves it to the configuration of `ssh`.
            identity: private key to log in with; None: those that `ssh` tries.
            known_hosts: file of host keys; None: those of the user and the system.
        """
        self.address = address
        self._ssh = ["ssh", *_OPTIONS]
        if port is not None:
            self._ssh += ["-p", str(port)]
        if identity is not None:
            self._ssh += ["-o", "IdentitiesOnly=yes", "-i", str(identity)]
        if known_hosts is not None:
            quoted = str(known_hosts).replace("%", "%%")
            self._ssh += ["-o", f'UserKnownHostsFile="{quoted}"', "-o", "GlobalKnownHostsFile=none"]
        if address.user is not None:
            self._ssh += ["-l", address.user]
        self._ssh += ["--", address.host]

    def run(self, *words: str, given: Iterable[bytes] | None = None) -> Answer:
        """Run a command on the device.

        Args:
            words: the command and its arguments, each one word there too.
            given: what it reads from its standard input; None: nothing.

        Raises:
            DeviceError: the connection failed, or it answered with too much.
        """
        try:
            # The device's shell reads one string: every word is quoted for it.
            process = subprocess.Popen(
                [*self._ssh, shlex.join(words)],
                stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise DeviceError(
                "ssh", "is not installed", "install OpenSSH's client (openssh-client)"
            ) from None
        with process:
            try:
                return self._answer(process, given)
            except BaseException:
                process.kill()
                raise

    def done(self, *words: str) -> bytes:
        """Run a command that must succeed and return what it wrote.

        Raises:
            DeviceError: the connection or the command failed.
        """
        answer = self.run(*words)
        if answer.code:
            finding = answer.last_line or f"exit code {answer.code}"
            raise DeviceError(self.address, f"{words[0]} failed ({finding})", "mend it there")
        return answer.output

    def size(self, path: str) -> int | None:
        """Return how many bytes a file on the device has; None where there is none."""
        answer = self.run("stat", "-c", "%s", "--", path)
        text = answer.output.strip()
        return int(text) if answer.code == 0 and text.isdigit() else None

    def hash_of(self, path: str) -> str:
        """Return the SHA-256 of a file on the device, in hex."""
        return self.done("sha256sum", "--", path).decode("ascii", "replace").lstrip("\\")[:64]

    def append(self, file: BinaryIO, path: str, sent: Callable[[], None]) -> None:
        """Add what is left of an open file to one on the device.

        Args:
            file: read from where it stands.
            path: on the device.
            sent: called after each `PIECE`.

        Raises:
            DeviceError: the connection failed, or the device could not take all of it.
        """
        target = ("oflag=append", "conv=notrunc", "status=none", f"of={path}")
        answer = self.run("dd", "bs=65536", *target, given=_pieces(file, sent))
        if answer.code:
            finding = f"cannot store the file ({answer.last_line.removeprefix('dd: ')})"
            raise DeviceError(self.address, finding, "make room there, then run it again")

    def _answer(self, process: subprocess.Popen[bytes], given: Iterable[bytes] | None) -> Answer:
        if given is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # why, the answer says
                for piece in given:
                    process.stdin.write(piece)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdin = None  # nothing is left for `communicate` to send
        output, said = process.communicate()
        if len(output) > MOST_ANSWER:
            raise DeviceError(self.address, "answers with too much", "look at what runs there")
        answer = Answer(
            process.returncode,
            output,
            plain(said.decode("utf-8", "replace").replace("\r\n", "\n"), keep="\n"),
        )
        if answer.code == LOST:
            raise self._lost(answer)
        return answer

    def _lost(self, answer: Answer) -> DeviceError:
        text = answer.said.casefold()
        for sign, finding, remedy in _CAUSES:
            if sign in text:
                return DeviceError(self.address, finding, remedy)
        finding = f"the connection was lost ({answer.last_line or 'no reason given'})"
        return DeviceError(self.address, finding, _AGAIN)


def _pieces(file: BinaryIO, sent: Callable[[], None]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
        sent()
