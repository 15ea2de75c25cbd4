"""A real `sshd` on loopback that stands for a device, and a way to cut its connections."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@dataclass(frozen=True)
class SshServer:
    """A device.

    Attributes:
        port: of its server.
        home: the folder in which commands start.
        identity: private key that it lets in.
        known_hosts: file with its host key.
        programs: folder that its PATH begins with.
    """

    port: int
    home: Path
    identity: Path
    known_hosts: Path
    programs: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `deploy` that reach it."""
        return (
            *("--port", str(self.port), "--identity", str(self.identity)),
            *("--known-hosts", str(self.known_hosts)),
        )

    @property
    def address(self) -> str:
        """USER@HOST."""
        return f"{getpass.getuser()}@127.0.0.1"


@contextlib.contextmanager
def ssh_server(folder: Path, **environment: str) -> Iterator[SshServer]:
    """Start a server whose commands run in a folder of their own with more in their environment."""
    assert SSHD is not None, "sshd is missing: apt-get install openssh-server"
    home, programs = folder / "home", folder / "programs"
    for place in (home, programs):
        place.mkdir(parents=True)
    for name in ("host", "user"):
        _key(folder / name)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    (folder / "authorized_keys").chmod(0o600)
    port = free_port()
    folders = f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
    given = {"DEVICE_HOME": str(home), "PATH": folders, **environment}
    config = folder / "sshd_config"
    config.write_text(
        f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey "{folder / "host"}"
        AuthorizedKeysFile "{folder / "authorized_keys"}"
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PermitRootLogin yes
        ForceCommand cd "$DEVICE_HOME" && eval "$SSH_ORIGINAL_COMMAND"
        SetEnv {" ".join(f'"{name}={value}"' for name, value in given.items())}
        """
    )
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    log = folder / "sshd.log"
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)])
    host = (folder / "host.pub").read_text().split()
    known_hosts = folder / "known hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    try:
        _wait(port, process, log)
        yield SshServer(port, home, folder / "user", known_hosts, programs)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def cut_after(port: int, count: int, file: Callable[[], Iterable[Path]]) -> Iterator[int]:
    """Forward a port, and cut a connection that brings more bytes than so many.

    Not before some of them stand in a file: a network that goes dead loses what it carries, not
    what arrived.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, port, (count, file)), daemon=True).start()
        yield server.getsockname()[1]


_Cut = tuple[int, Callable[[], Iterable[Path]]]


def _serve(server: socket.socket, port: int, cut: _Cut) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = server.accept()
            far = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_forward, args=(far, near, None), daemon=True).start()
            threading.Thread(target=_forward, args=(near, far, cut), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, cut: _Cut | None) -> None:
    passed = 0
    with source, target, contextlib.suppress(OSError):
        while piece := source.recv(4096):
            passed += len(piece)
            if cut is not None and passed > cut[0]:
                _wait_for_bytes(cut[1])
                for end in (source, target):
                    end.shutdown(socket.SHUT_RDWR)
                return
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def _wait_for_bytes(file: Callable[[], Iterable[Path]]) -> None:
    for _ in range(400):
        if any(path.stat().st_size for path in file()):
            return
        time.sleep(0.05)


def _key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
