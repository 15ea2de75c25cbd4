"""How much memory this process took: the one place that asks."""

from __future__ import annotations

from pathlib import Path


def peak_memory() -> int | None:
    """Return the most memory this process ever held, in bytes; None if the system hides it.

    From /proc/self/status (VmHWM). `ru_maxrss` would not do: a child process begins with
    what its parent held.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def available_memory() -> int | None:
    """Return how many bytes this process may still take; None if the system hides it.

    The kernel's MemAvailable, or what the control group (a container) leaves of its limit, if
    that is less.
    """
    found = [_meminfo(), _left_by_the_group()]
    known = [number for number in found if number is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        content = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in content.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_by_the_group(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(most) - int(used)) if most.isdigit() and used.isdigit() else None
