"""An emulated machine: started, spoken to over SSH, and its power cut."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from pathlib import Path

from images import Image

BOOT_SECONDS = 900
ANSWER_SECONDS = 900
MEMORY_MB = 2048
CORES = 2

_MACHINE = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72")


class GuestError(AssertionError):
    """A command in the guest failed, or the guest does not answer."""


class Machine:
    """One emulated device with its disk.

    Attributes:
        boots: how often its power was switched on.
        console: file with what the kernel and systemd said, of all boots.
    """

    def __init__(self, image: Image, disk: Path, folder: Path, ports: tuple[int, ...] = ()) -> None:
        """Describe a machine.

        Args:
            image: kernel, initrd and keys.
            disk: qcow2, written to.
            folder: for the console's log and the connection.
            ports: TCP ports of the guest that `port` gives an own one for.
        """
        self._image, self._disk, self._folder = image, disk, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.console = folder / "console.log"
        self._ports = {guest: _free_port() for guest in (22, *ports)}
        self._process: subprocess.Popen[bytes] | None = None
        self.boots = 0
        host_key = (image.folder / "host_key.pub").read_text().split()[:2]
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self._ports[22]} {' '.join(host_key)}\n")

    def port(self, guest: int) -> int:
        """Return the port on 127.0.0.1 that leads to one of the guest."""
        return self._ports[guest]

    def start(self) -> float:
        """Switch it on and wait until it is up; returns the seconds that took."""
        began = time.monotonic()
        forwarded = ",".join(
            f"hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self._ports.items()
        )
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*_MACHINE, "-smp", str(CORES), "-m", str(MEMORY_MB)),
                    *("-nodefaults", "-display", "none"),
                    *("-chardev", f"file,id=console,path={self.console},append=on"),
                    *("-serial", "chardev:console"),
                    *("-kernel", str(self._image.folder / "vmlinuz")),
                    *("-initrd", str(self._image.folder / "initrd.img")),
                    *("-append", "root=/dev/vda rw console=ttyAMA0 panic=5"),
                    *("-drive", f"if=none,id=disk,file={self._disk},format=qcow2"),
                    *("-device", "virtio-blk-pci,drive=disk"),
                    # Nothing leads out; only the named ports lead in.
                    *("-netdev", f"user,id=net,restrict=on,{forwarded}"),
                    *("-device", "virtio-net-pci,netdev=net,romfile="),
                    *("-device", "virtio-rng-pci"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.boots += 1
        self.wait_until_up(BOOT_SECONDS)
        return time.monotonic() - began

    def wait_until_up(self, seconds: float) -> None:
        """Wait until SSH lets us in; services may still be starting."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process is None or self._process.poll() is not None:
                raise GuestError(f"the emulator ended; see {self.console}")
            try:
                self.run("true", seconds=120)
                return
            except (GuestError, subprocess.TimeoutExpired):
                time.sleep(2)
        raise GuestError(f"not up after {seconds:.0f} s; see {self.console}")

    def run(self, command: str, *, seconds: float = ANSWER_SECONDS, stdin: bytes = b"") -> str:
        """Run a shell command as the guest's root; returns what it printed.

        Raises:
            GuestError: it failed, with what it said.
        """
        code, out, error = self.attempt(command, seconds=seconds, stdin=stdin)
        if code != 0:
            raise GuestError(f"{command}: exit code {code}\n{out}\n{error}")
        return out

    def attempt(
        self, command: str, *, seconds: float = ANSWER_SECONDS, stdin: bytes = b""
    ) -> tuple[int, str, str]:
        """Run a shell command; returns its exit code, output and errors."""
        done = subprocess.run(
            [*self._ssh(), "root@127.0.0.1", command],
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def popen(self, command: str) -> subprocess.Popen[bytes]:
        """Begin a shell command and leave it running."""
        return subprocess.Popen(
            [*self._ssh(), "root@127.0.0.1", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def send(self, files: list[Path], folder: str) -> None:
        """Copy files and folders into a folder of the guest, which is made."""
        names = [name for path in files for name in ("-C", str(path.parent), path.name)]
        packed = subprocess.run(["tar", "-c", *names], capture_output=True, check=True).stdout
        there = shlex.quote(folder)
        self.run(f"mkdir -p {there} && tar -x --no-same-owner -C {there}", stdin=packed)

    def reboot(self) -> float:
        """Restart it in good order; returns the seconds until it is up again."""
        began, before = time.monotonic(), self._boot_id()
        self.attempt("systemctl reboot")
        give_up = began + BOOT_SECONDS
        while time.monotonic() < give_up:
            time.sleep(2)
            self._hang_up()
            try:
                if self._boot_id() != before:
                    self.wait_until_up(BOOT_SECONDS)
                    return time.monotonic() - began
            except (GuestError, subprocess.TimeoutExpired):
                continue
        raise GuestError(f"not up after a reboot; see {self.console}")

    def cut_power(self) -> None:
        """End the emulator as a power cut does: what the guest had not written is lost."""
        self._hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def shut_down(self) -> None:
        """Switch it off in good order, so that its disk is whole."""
        if self._process is None:
            return
        self.attempt("systemctl poweroff")
        self._hang_up()
        try:
            self._process.wait(timeout=BOOT_SECONDS)
        finally:
            self.cut_power()

    def _boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id", seconds=60)

    def _ssh(self) -> list[str]:
        return [
            *("ssh", "-F", "none", "-i", str(self._image.key), "-p", str(self._ports[22])),
            *("-o", f"UserKnownHostsFile={self._folder / 'known_hosts'}"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=60"),
            *("-o", "LogLevel=ERROR", "-o", "ControlMaster=auto", "-o", "ControlPersist=yes"),
            *("-o", f"ControlPath={self._folder / 'ssh'}"),
        ]

    def _hang_up(self) -> None:
        subprocess.run(
            [*self._ssh(), "-O", "exit", "root@127.0.0.1"], capture_output=True, check=False
        )
        (self._folder / "ssh").unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
