"""Trains the small network in processes that end themselves, each at another moment.

Run as ``python killed_training.py FOLDER [arguments of qlvit-edge]...``: a SIGKILL must hit a
process of its own. Prints a JSON object, moment → exit code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_run import small_config

from qlvit_edge.cli import main
from qlvit_edge.model import configs
from qlvit_edge.training import checkpoint, loop

MOMENTS = (
    "in the first epoch",
    "between best and last",
    "while last is written",
    "before the last row of metrics.csv",
    "Ctrl-C",
)


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
    elif moment == "between best and last":
        loop.TrainingState.save = _at_call(2, kill, loop.TrainingState.save)
    elif moment == "while last is written":
        checkpoint.save_file = _at_call(4, kill, checkpoint.save_file, after=True)
    elif moment == "before the last row of metrics.csv":
        loop.as_csv = _at_call(3, kill, loop.as_csv)
    elif moment == "Ctrl-C":
        # Also where whoever started the tests ignores it, as a script does for `make test &`.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop._step = _at_call(5, signal.SIGINT, loop._step)
    else:
        raise ValueError(moment)


def run(folder: Path, moment: str, arguments: list[str]) -> int:
    """Train in a fork, into a folder named after the moment; returns how it ended."""
    child = os.fork()
    if child == 0:
        arm(moment)
        main([*arguments, "--out", str(folder / moment)])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    configs.SIZES["nano"] = small_config()
    codes = {moment: run(Path(sys.argv[1]), moment, sys.argv[2:]) for moment in MOMENTS}
    print(json.dumps(codes))
