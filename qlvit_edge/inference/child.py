"""Run a function in a process of its own, for native code that can abort the process.

The reference kernels call `abort()` on models they do not expect. In a child that is an
error like any other.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from qlvit_edge.errors import ModelFileError, QLViTEdgeError

P = ParamSpec("P")
T = TypeVar("T")

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Environment of children, which run side by side: NumPy's own threads get in the way."""

DEFAULT_TIMEOUT = 600.0
"""Seconds after which a child that does not answer is ended."""


# -P: the working folder is not searched for modules; started in a checkout, the child would
# otherwise import the sources there instead of the installed package.
_CHILD = [
    sys.executable,
    "-P",
    "-c",
    "from qlvit_edge.inference.child import _answer; _answer()",
]


def run_in_child(
    subject: object,
    function: Callable[P, T],
    /,
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """Call ``function(*arguments, **options)`` in a fresh Python process.

    Args:
        subject: the model file, for messages.
        function: a function at the top of an importable module.
        arguments: picklable arguments.
        options: picklable keyword arguments.

    Returns:
        What the function returned.

    Raises:
        ModelFileError: the child crashed or did not answer within `DEFAULT_TIMEOUT`.
        QLViTEdgeError: the function raised one; other exceptions come back as they are
            where they can be pickled.
    """
    try:
        done = subprocess.run(
            _CHILD,
            input=pickle.dumps((function, arguments, options)),
            capture_output=True,
            timeout=DEFAULT_TIMEOUT,
            env={**os.environ, **ONE_THREAD},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            subject, f"no answer within {DEFAULT_TIMEOUT:.0f} s", "use other kernels"
        ) from None
    if done.returncode != 0:
        raise ModelFileError(
            subject,
            f"the runtime crashed on it ({cause_of(done.returncode, done.stderr)})",
            "use other kernels",
        )
    failed, value = pickle.loads(done.stdout)
    if not failed:
        return value  # type: ignore[no-any-return]
    if isinstance(value, tuple):
        kind, text = value
        error = kind.__new__(kind)
        Exception.__init__(error, text)
        raise error
    raise value


def cause_of(returncode: int, noise: bytes) -> str:
    """Say in words why a child ended: its signal, or the last line it wrote to stderr."""
    if returncode < 0:
        return signal.Signals(-returncode).name
    lines = noise.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"exit code {returncode}"


def _answer() -> None:
    """The child's side: read a call from stdin, write its outcome to stdout."""
    # Native code that prints must not end up in the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, arguments, options = pickle.loads(sys.stdin.buffer.read())
    try:
        outcome = (False, function(*arguments, **options))
    except QLViTEdgeError as error:
        # Their constructor takes three parts of which only the text is kept.
        outcome = (True, (type(error), str(error)))
    except Exception as error:
        outcome = (True, error)
    answer.write(pickle.dumps(outcome))
    answer.close()
