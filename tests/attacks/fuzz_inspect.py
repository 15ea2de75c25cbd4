"""Feed damaged models and chains to `inspect`, as the command line does it.

    python tests/attacks/fuzz_inspect.py [--inputs 5000] [--seed 1] [--seconds 5]

Every input goes through the command with one of its forms of output, in this process; only the
question to the runtime, which has a process of its own, is left out. Right is exit code 0, or 2
with one line that begins with "error: "; neither may hold a character that a terminal obeys, and
JSON must be JSON. Exit code 1 for a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from chain_mutations import ChainMutator
from fuzz import keep
from mutations import Mutator

from qlvit_edge.cli import main as command_line
from qlvit_edge.inference import kernels_in_words

FORMS = ([], ["--summary"], ["--json"], ["--edgetpu"], ["--edgetpu", "--json"])


def inspect(path: Path, form: list[str]) -> str:
    """Run the command on a file; returns what is wrong with its answer, or nothing."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line(["inspect", str(path), *form])
        except SystemExit as ended:
            code = ended.code
    said, refused = out.getvalue(), err.getvalue()
    if code not in (0, 2):
        return f"exit code {code}"
    if code == 2 and not (refused.startswith("error: ") and refused.count("\n") == 1):
        return f"not one line of refusal: {refused[:300]!r}"
    if code == 2 and said:
        return f"output of what was refused: {said[:100]!r}"
    if any(not (c.isprintable() or c == "\n") for c in said + refused):
        return "a control character"
    if code == 0 and "--json" in form:
        json.loads(said)
    return ""


def _late(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError("no answer in time")


def main() -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    kernels_in_words.kernels_in_child = lambda _path, _content: "not asked"
    makers = (Mutator(options.seed), ChainMutator(options.seed))
    choices = random.Random(options.seed)
    signal.signal(signal.SIGALRM, _late)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.tflite"
        for number in range(options.inputs):
            content = choices.choice(makers).next()
            path.write_bytes(content)
            form = choices.choice(FORMS)
            signal.setitimer(signal.ITIMER_REAL, options.seconds)
            try:
                finding = inspect(path, form)
            except BaseException as error:
                finding = f"{type(error).__name__}: {error}"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if finding:
                failures += 1
                kept = keep(content)
                print(f"input {number} {' '.join(form)}: {finding}\n  kept as {kept}", flush=True)
                if failures == 10:
                    print("stopped after 10 failures")
                    break
    print(f"{number + 1} inputs from seed {options.seed}: {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
