"""Which kernels would run a model file here, asked without risk to the process that asks."""

from __future__ import annotations

from pathlib import Path

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS

NOT_KNOWN = "not known"
"""How the words begin where the runtime does not take a file."""


def kernels_in_child(path: Path, content: bytes) -> str:
    """Return in words which kernels the default runtime runs, and whether that is proved.

    The runtime is asked in a process of its own, which an odd model may end; never fails.
    """
    allowance = Allowance(operators=ALLOWED_OPERATORS)
    try:
        with open_isolated(content, subject=path, allowance=allowance) as model:
            return f"{model.kernels_used}: {model.arithmetic}"
    except QLViTEdgeError as error:
        return f"{NOT_KNOWN} ({error})"
