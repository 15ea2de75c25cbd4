"""A Raspberry Pi made of stand-ins: the scripts below `firmware_scripts` run against a folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / "firmware_scripts"

# Stand-ins log their call and then do the little that the scripts rely on.
LOG = 'printf "%s" "${0##*/}" >>"$CALLS"; printf " %s" "$@" >>"$CALLS"; echo >>"$CALLS"\n'
STUBS = {
    "uname": 'echo "${FAKE_SYSTEM:-Linux}"',
    "dpkg": 'echo "$FAKE_ARCHITECTURE"',
    "dpkg-query": 'grep -qx "$4" "$STATE/packages" && echo "install ok installed"',
    "apt-get": LOG
    + 'if [ "$1" = install ]; then shift 3; printf "%s\\n" "$@" >>"$STATE/packages"; fi\n'
    + 'exit "${FAKE_APT_CODE:-0}"',
    "getent": 'grep -qx "$2" "$STATE/known-groups"',
    "groupadd": LOG + 'echo "$2" >>"$STATE/known-groups"',
    "useradd": LOG + 'for name; do :; done; echo "$name" >>"$STATE/users"',
    "usermod": LOG + 'echo "${3//,/ }" >>"$STATE/groups-of-$4"',
    "id": """case "$*" in
  -u) echo "${FAKE_UID:-0}" ;;
  "-u "*) grep -qx "$2" "$STATE/users" ;;
  -nG*) tr '\\n' ' ' <"$STATE/groups-of-$2" ;;
esac""",
    "python3": """case "$*" in
  "-c "*) echo "$FAKE_PYTHON"; exit ;;
  "-I -c "*) [ -n "$FAKE_NUMPY" ] && echo "$FAKE_NUMPY"; exit ;;
esac
"""
    + LOG
    + """for folder; do :; done
mkdir -p "$folder/bin"
cp "$STUBS/pip" "$STUBS/python" "$folder/bin"
""",
    "python": """case "$*" in
  *numpy*) echo "${FAKE_OWN_NUMPY:-$FAKE_NUMPY}"; exit ;;
  *picamera2*) exit "${FAKE_PICAMERA2_CODE:-0}" ;;
esac
shift; exec "${0%/*}/pip" "$@"
""",
    "pip": """while [ "${1#--}" != "$1" ]; do shift; done
if [ "$1" = check ]; then echo "$FAKE_CHECK"; [ -z "$FAKE_CHECK" ]; exit; fi
"""
    + LOG
    + 'cp "$STUBS/qlvit-edge" "${0%/*}/qlvit-edge"; exit "${FAKE_PIP_CODE:-0}"',
    "qlvit-edge": 'echo qlvit-edge, version 0.1.0; echo "${FAKE_RUNTIME:-ai-edge-litert 2.3.0}"',
    "systemctl": """case "$1" in
  --version) echo "systemd ${FAKE_SYSTEMD:-252} (252.1)" ;;
  is-enabled) [ -e "$STATE/enabled" ] ;;
  is-active) [ -e "$STATE/active" ] ;;
  *) """
    + LOG
    + """case "$1" in
  enable) touch "$STATE/enabled" ;; disable) rm "$STATE/enabled" ;;
  start) touch "$STATE/active" ;; stop) rm "$STATE/active" ;;
esac ;;
esac""",
    "udevadm": LOG,
    # The real one; owners are written down instead of changed.
    "install": LOG
    + """kept=() owner= group=
while [ $# -gt 0 ]; do
  case $1 in
    -o) owner=$2; shift ;;
    -g) group=$2; shift ;;
    *) kept+=("$1") ;;
  esac
  shift
done
target=${kept[-1]}
[ -z "$owner" ] || echo "$owner:$group ${target%.part}" >>"$STATE/owners"
exec /usr/bin/install "${kept[@]}"
""",
    "stat": """file=${!#}
mode=$(/usr/bin/stat -c %a "$file")
echo "$mode $(grep -F " $file" "$STATE/owners" | tail -n 1 | cut -d ' ' -f 1)"
""",
    "sync": "",
}


@dataclass
class Device:
    """A Raspberry Pi made of stubs in a temporary folder.

    Attributes:
        folder: holds `stubs`, the state of the stand-ins, what was copied to the device
            (`copied`), and the root of its file system (`root`).
        environment: of the scripts.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stubs = self.folder / "stubs"
        stubs.mkdir(parents=True)
        for name, body in STUBS.items():
            (stubs / name).write_text(f"#!/bin/bash\n{body}\n")
            (stubs / name).chmod(0o755)
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (self.copied / "requirements").mkdir()
        for target in ("bookworm-arm64", "trixie-arm64", "bookworm-armhf"):
            lock = self.copied / "requirements" / f"device-{target}.txt"
            lock.write_text("click==8.1 --hash=sha256:00\ntyping-extensions==4 --hash=sha256:00\n")
        self.wheel.parent.mkdir()
        self.wheel.write_bytes(b"one")
        for folder in ("etc", "run/systemd/system", "run/udev"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "run/udev/control").touch()
        (self.folder / "packages").write_text("python3\n")
        (self.folder / "users").write_text("root\npi\n")
        (self.folder / "known-groups").write_text("video\nplugdev\n")
        (self.folder / "groups-of-pi").write_text("pi\nsudo\n")
        (self.folder / "owners").touch()
        self.system("bookworm")
        self.environment |= {
            "PATH": f"{stubs}:/usr/bin:/bin",
            "STUBS": str(stubs),
            "STATE": str(self.folder),
            "CALLS": str(self.folder / "calls"),
            "QLVIT_EDGE_ROOT": str(self.root),
            "SUDO_USER": "pi",
            "FAKE_ARCHITECTURE": "arm64",
            "FAKE_PYTHON": "3.11",
            "FAKE_NUMPY": "1",
        }

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def copied(self) -> Path:
        return self.folder / "copied here"

    @property
    def scripts(self) -> Path:
        return self.copied / "firmware_scripts"

    @property
    def wheel(self) -> Path:
        return self.folder / "a wheel" / "qlvit_edge-0.1.0-py3-none-any.whl"

    @property
    def prefix(self) -> Path:
        return self.root / "opt" / "qlvit-edge"

    @property
    def data(self) -> Path:
        return self.root / "var" / "lib" / "qlvit-edge"

    @property
    def configuration(self) -> Path:
        return self.root / "etc" / "qlvit-edge"

    @property
    def units(self) -> Path:
        return self.root / "etc" / "systemd" / "system"

    def system(self, codename: str) -> None:
        """Make it a device of this release."""
        (self.root / "etc" / "os-release").write_text(
            f'NAME="Debian"\nVERSION_CODENAME={codename}\n'
        )

    def calls(self) -> list[str]:
        """Return the changing calls since the last time."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def run(
        self, *arguments: str, wheel: bool = True, script: str = "install.sh"
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts; the installer with our wheel."""
        named = ["--wheel", str(self.wheel)] if wheel and script == "install.sh" else []
        return subprocess.run(
            ["bash", str(self.scripts / script), *named, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def tree(self) -> dict[str, tuple[str, int, str]]:
        """Return every path of the device with its kind and mode, time of change, and content."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            state = path.lstat()
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = ""
            key = str(path.relative_to(self.root))
            found[key] = (oct(state.st_mode), state.st_mtime_ns, content)
        return found


def make_wheelhouse(device: Device, codename: str = "bookworm") -> None:
    """Turn what was copied to the device into a wheelhouse, of wheels that are stand-ins."""
    copied = device.copied
    shutil.rmtree(copied)
    leave = shutil.ignore_patterns("*.py", "rauc", "__pycache__")
    shutil.copytree(SCRIPTS, copied, ignore=leave)
    (copied / "wheels").mkdir()
    (copied / "wheels" / "pip-26.3-py3-none-any.whl").write_bytes(b"pip")
    (copied / "TARGET").write_text(f"{codename}-arm64\n")
    (copied / "requirements.txt").write_text("click==8.1 --hash=sha256:00\n")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(copied)}\n"
        for path in sorted(copied.rglob("*"))
        if path.is_file()
    ]
    (copied / "SHA256SUMS").write_text("".join(sums))
