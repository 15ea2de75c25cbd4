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
