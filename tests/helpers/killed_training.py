"""Trains the small network in a process that ends itself at a named moment.

    python killed_training.py MOMENT [arguments of `qlvit-edge`]...

Run as a script: a SIGKILL must hit a process of its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from small_run import small_config

from qlvit_edge.cli import main
from qlvit_edge.model import configs
from qlvit_edge.training import checkpoint, loop


def _at_call(
    count: int, number: int, function: Callable[..., Any], *, after: bool = False
) -> Callable[..., Any]:
    """Let the signal come just before (or after) the given call of a function."""
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not after:
            os.kill(os.getpid(), number)
        result = function(*arguments, **options)
        if calls == count:
            os.kill(os.getpid(), number)
        return result

    return wrapped


def arm(moment: str) -> None:
    """Choose when the process ends."""
    kill = signal.SIGKILL
    if moment == "in the first epoch":
        loop._step = _at_call(2, kill, loop._step)
    elif moment == "in the second epoch":
        loop._step = _at_call(5, kill, loop._step)
    elif moment == "between best and last":
        loop.TrainingState.save = _at_call(2, kill, loop.TrainingState.save)
    elif moment == "while last is written":
        checkpoint.save_file = _at_call(4, kill, checkpoint.save_file, after=True)
    elif moment == "before the last row of metrics.csv":
        loop._as_csv = _at_call(3, kill, loop._as_csv)
    elif moment == "Ctrl-C":
        loop._step = _at_call(5, signal.SIGINT, loop._step)
    else:
        raise ValueError(moment)


if __name__ == "__main__":
    configs.SIZES["nano"] = small_config()
    arm(sys.argv[1])
    main(sys.argv[2:])
