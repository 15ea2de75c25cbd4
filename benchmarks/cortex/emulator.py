"""An emulator that takes plugins, and our plugin, built once into the arm64 cache.

Debian's qemu-user is linked statically and built without plugins, so the same version is built
from Debian's source package: only user mode for aarch64, about two minutes on two cores. Needs
a C compiler, ninja, flex, bison, pkg-config and GLib's headers; meson comes from PyPI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

from arm64_userland import Userland, fail

MESON = "meson==1.5.0"
TOOLS = ("cc", "ninja", "flex", "bison", "pkg-config", "patch", "nm", "apt-get", "dpkg-source")
SUITE = "trixie"
_SOURCES = "deb-src [signed-by={keyring}] {mirror} {suite} main\n"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_OPTIONS = (
    *("--target-list=aarch64-linux-user", "--without-default-features", "--enable-plugins"),
    *("--enable-linux-user", "--disable-system", "--disable-tools", "--disable-docs"),
    *("--disable-download", "--disable-werror", "--disable-install-blobs"),
)
_SOURCE = Path(__file__).with_name("counter.c")


@dataclass(frozen=True)
class Emulator:
    """What counts.

    Attributes:
        userland: the arm64 userland.
        program: `qemu-aarch64` with plugins.
        plugin: ours, compiled.
    """

    userland: Userland
    program: Path
    plugin: Path

    def command(self, cpu: str, marks: Path, out: Path, script: Path, *arguments: str) -> list[str]:
        """Return the command that runs a Python script and records one inference."""
        _, *rest = self.userland.command(cpu, script, *arguments)
        return [
            *(str(self.program), "-plugin", f"{self.plugin},marks={marks},out={out}"),
            *rest,
        ]


def build(userland: Userland) -> Emulator:
    """Build what is missing beside the userland.

    Raises:
        SystemExit: with exit code 2 and one line that says what is missing.
    """
    folder = userland.folder / "plugins"
    program, header = folder / "qemu-aarch64", folder / "qemu-plugin.h"
    if not (program.is_file() and header.is_file()):
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            fail(f"{', '.join(missing)}: not installed; `make cortex` installs what is needed")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            _build_program(Path(work), program, header)
    return Emulator(userland, program, compile_plugin(folder, header))


def compile_plugin(folder: Path, header: Path) -> Path:
    """Compile the plugin, unless this very source was compiled before; returns the library.

    Raises:
        SystemExit: the compiler's last line.
    """
    digest = hashlib.sha256(_SOURCE.read_bytes() + header.read_bytes()).hexdigest()[:16]
    library = folder / f"counter-{digest}.so"
    if not library.is_file():
        flags = _run("pkg-config", "--cflags", "glib-2.0").split()
        temporary = library.with_suffix(f".{os.getpid()}")
        _run(
            *("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{header.parent}"),
            *(*flags, "-o", str(temporary), str(_SOURCE)),
        )
        temporary.replace(library)
    return library


def _build_program(work: Path, program: Path, header: Path) -> None:
    source = _unpack_source(work)
    environment = work / "meson"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    _run(str(python), "-m", "pip", "install", "--quiet", MESON)
    build_folder = work / "build"
    build_folder.mkdir()
    _run(str(source / "configure"), f"--python={python}", *_OPTIONS, cwd=build_folder)
    cores = str(min(2, os.cpu_count() or 1))
    _run("nice", "ninja", f"-j{cores}", "qemu-aarch64", cwd=build_folder)
    shutil.copy2(source / "include/qemu/qemu-plugin.h", header)
    shutil.copy2(build_folder / "qemu-aarch64", program)


def _unpack_source(work: Path) -> Path:
    """Fetch Debian's source package with package lists of its own; returns the source tree."""
    lists = work / "sources.list"
    lists.write_text(_SOURCES.format(keyring=_KEYRING, mirror=_mirror(), suite=SUITE))
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    apt = (
        *("apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={lists}"),
        *("-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={work / 'lists'}"),
        *("-o", f"Dir::Cache={work / 'cache'}", "-o", "APT::Sandbox::User=root"),
    )
    _run(*apt, "update")
    _run(*apt, "source", "qemu", cwd=work)
    found = [path for path in work.glob("qemu-*") if path.is_dir()]
    if len(found) != 1:
        fail(f"apt-get source qemu: {len(found)} source trees where one was expected")
    return found[0]


def _mirror() -> str:
    """Return the address of Debian's archive that this system's own package lists come from."""
    asked = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = [uri for uri in _run(*asked).split() if uri.rstrip("/").endswith("/debian")]
    if not found:
        fail("apt-get: no archive of Debian among its sources; add one and run `apt-get update`")
    return found[0]


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        fail(f"{command[0]}: {last}; {' '.join(command[1:])}")
    return done.stdout
