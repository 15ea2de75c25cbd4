"""The Python of another environment: found, asked what it has, and run with a time limit.

TensorFlow and onnx2tf pin packages that ours cannot have, so they live in an environment of
their own (`requirements/onnx2tf.txt`, `make onnx2tf-env`).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qlvit_edge.errors import MissingExtraError

VARIABLE = "QLVIT_EDGE_ONNX2TF_PYTHON"
FOLDER = ".venv-onnx2tf"
_WANTED = ("onnx2tf", "tensorflow")
_PROBE = (
    "import importlib.util, sys; "
    "print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n) is None))"
)
_PROBE_SECONDS = 60.0
_REMEDY = (
    "make the environment with `make onnx2tf-env` (or install requirements/onnx2tf.txt in a "
    f"virtual environment) and name its Python with --python or {VARIABLE}"
)


class TimeLimitError(Exception):
    """The program did not end in time and was ended."""


def find_python(named: Path | None) -> Path:
    """Return a Python that has onnx2tf and TensorFlow.

    Looked for in this order: the one named, the environment variable
    `QLVIT_EDGE_ONNX2TF_PYTHON`, `.venv-onnx2tf/bin/python` below the working folder.

    Raises:
        MissingExtraError: there is none, it does not start, or packages are missing in it.
    """
    variable = os.environ.get(VARIABLE)
    beside = Path.cwd() / FOLDER / "bin" / "python"
    if named is None and not variable and not beside.is_file():
        raise MissingExtraError(
            "route onnx2tf", "needs an environment with TensorFlow, there is none here", _REMEDY
        )
    # Not resolved: a virtual environment is told by the link's place.
    python = Path(os.path.abspath(named or variable or beside))
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE, *_WANTED],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MissingExtraError(python, f"does not start ({reason})", _REMEDY) from None
    except subprocess.TimeoutExpired:
        finding = f"did not answer within {_PROBE_SECONDS:.0f} s"
        raise MissingExtraError(python, finding, _REMEDY) from None
    if done.returncode:
        finding = f"is no working Python ({_last_line(done.stderr) or f'exit {done.returncode}'})"
        raise MissingExtraError(python, finding, _REMEDY)
    missing = done.stdout.decode("utf-8", "replace").split()
    if missing:
        raise MissingExtraError(python, f"has no {' and no '.join(missing)}", _REMEDY)
    return python


def run_limited(
    python: Path, arguments: Sequence[str], folder: Path, log: Path, seconds: float
) -> int:
    """Run a Python with arguments in ``folder``; all it prints goes to ``log``.

    Its programs (onnxsim and others) are found first on the PATH. It gets no standard input,
    and is a process group of its own, all of which ends with it.

    Returns:
        Its exit code; negative: the signal that ended it.

    Raises:
        TimeLimitError: after ``seconds``.
    """
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(python), "-I", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeLimitError from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else ""
