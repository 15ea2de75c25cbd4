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


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process may still take; None if the system hides it.

    The kernel's MemAvailable, or what the control group (a container) leaves of its limit, if
    that is less.

    Args:
        root: where `/proc` and `/sys` lie.
    """
    found = [meminfo(root).get("MemAvailable"), _left_by_the_group(root / "sys/fs/cgroup")]
    known = [number for number in found if number is not None]
    return min(known) if known else None


def meminfo(root: Path = Path("/")) -> dict[str, int]:
    """Return what the kernel tells of the machine's memory, in bytes; empty if it tells nothing.

    Args:
        root: where `/proc` lies.
    """
    try:
        content = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    found = {}
    for line in content.splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdecimal():
            found[name] = int(number[0]) * 1024
    return found


def _left_by_the_group(group: Path) -> int | None:
    try:
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(most) - int(used)) if most.isdigit() and used.isdigit() else None
