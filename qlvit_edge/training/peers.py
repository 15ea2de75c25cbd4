"""Who else trains, who of them is gone, and which process says so.

When one process of a training ends, the others notice in different ways at about the same time:
an exchange breaks off, or `torchrun` asks them to end. A user reads one line all the same.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from torch.distributed.distributed_c10d import Store

from qlvit_edge.launch import Launch

_LOOKS = 20
_BETWEEN_LOOKS = 0.05


class Peers:
    """The processes of one training, known to each other through the store of `torchrun`."""

    def __init__(self, store: Store, launched: Launch) -> None:
        """Enter this process.

        Args:
            store: outlives every single process.
            launched: the place of this process.
        """
        self._store = store
        self._launched = launched
        self._host = socket.gethostname()
        store.set(self._key(launched.rank), f"{os.getpid()} {self._host}")
        self._here: dict[int, int] = {}

    def meet(self) -> None:
        """Learn who the others are, once all have entered."""
        for rank in range(self._launched.size):
            self._learn(rank)

    def _learn(self, rank: int) -> None:
        process, host = self._store.get(self._key(rank)).decode().split(" ", 1)
        if host == self._host and rank != self._launched.rank:
            self._here[rank] = int(process)

    def _learn_of_entered(self) -> None:
        """Learn who has entered: one that is asked to end may not have come to `meet`."""
        try:
            for rank in range(self._launched.size):
                if self._store.check([self._key(rank)]):
                    self._learn(rank)
        except RuntimeError:  # the store is gone, too: what is known must do
            return

    def gone(self) -> str:
        """Name the processes of this machine that have ended; "" where none has.

        It looks for a second: a process may still be ending when others see it break off.
        """
        self._learn_of_entered()
        for _ in range(_LOOKS):
            found = [
                f"rank {rank} of {self._launched.size} (process {process})"
                for rank, process in self._here.items()
                if not _lives(process)
            ]
            if found:
                return ", ".join(found)
            time.sleep(_BETWEEN_LOOKS)
        return ""

    def speaks_first(self) -> bool:
        """Tell whether no process of this machine has asked this before."""
        return _or_true(lambda: self._store.add(f"qlvit-edge/said on {self._host}", 1) == 1)

    @staticmethod
    def _key(rank: int) -> str:
        return f"qlvit-edge/process {rank}"


def _or_true(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except RuntimeError:  # the store is gone, too: better twice than not at all
        return True


def _lives(process: int) -> bool:
    """Tell whether a process computes still; one that its parent has not yet buried does not."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in ("Z", "X")
