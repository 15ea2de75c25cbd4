"""Which kernels would run a model file here, asked without risk to the process that asks."""

from __future__ import annotations

from pathlib import Path

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Interpreter

NOT_KNOWN = "not known"
"""How the words begin where the runtime does not take a file."""


def kernels_used(content: bytes) -> str:
    """Return in words which kernels the default runtime runs, and whether that is proved.

    Raises:
        QLViTEdgeError: the runtime is missing or refuses the file.
    """
    interpreter = Interpreter(content)
    return f"{interpreter.kernels_used}: {interpreter.arithmetic}"


def kernels_in_child(path: Path, content: bytes) -> str:
    """Ask the runtime in a process of its own, which an odd model may end; never fails."""
    try:
        return run_in_child(path, kernels_used, content)
    except QLViTEdgeError as error:
        return f"{NOT_KNOWN} ({error})"
    except Exception as error:  # the runtime's Python side has its own, such as on names
        return f"{NOT_KNOWN} (the runtime fails on it: {type(error).__name__}: {error})"
