"""What `torchrun` says to each process that it starts, read from the environment.

Kept apart from torch: the command line has to know before it loads anything whether this
process is one of several, and which of them speaks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together.

    Attributes:
        rank: its number, from 0; rank 0 writes and speaks.
        size: how many there are, on all machines.
        local_rank: its number on this machine.
        local_size: how many there are on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def launch() -> Launch | None:
    """Return the place of this process; None where it is the only one."""
    found = [os.environ.get(name, "") for name in _NAMES]
    if not all(value.isdecimal() for value in found) or "MASTER_ADDR" not in os.environ:
        return None
    rank, size, local_rank, local_size, _ = map(int, found)
    return Launch(rank, size, local_rank, local_size) if size > 1 else None


def is_follower() -> bool:
    """Tell whether another process speaks for this one."""
    found = launch()
    return found is not None and found.rank > 0
