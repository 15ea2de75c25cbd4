"""Feed hostile inputs to the model file reader and everything behind it, in a process of its own.

    python tests/attacks/fuzz.py [--inputs 100000] [--seed 1] [--seconds 5] [--megabytes 200]

Inputs are seeds (small files, bundled models, the hostile files of the tests) and mutations of
them; the same seed gives the same inputs. A run fails on anything but an answer or a
`ModelFileError`, on an input that takes longer than --seconds, and when the process, Python and
libraries included, ever holds more than --megabytes. The offending input is kept beside the
message. Exit code 1 for a failure.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from examine import examine
from mutations import Mutator


def _late(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError


def peak_megabytes() -> float:
    """Return the most memory that this process ever held, in MB.

    Not `ru_maxrss`: a process starts with its parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def keep(content: bytes) -> Path:
    """Write an input where it can be looked at."""
    name = f"fuzz-{hashlib.sha256(content).hexdigest()[:16]}.tflite"
    path = Path(tempfile.gettempdir()) / name
    path.write_bytes(content)
    return path


def main() -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--megabytes", type=float, default=200.0)
    options = parser.parse_args()
    mutator = Mutator(options.seed)
    signal.signal(signal.SIGALRM, _late)
    before = peak_megabytes()
    began = time.perf_counter()
    accepted, slowest, failures = 0, 0.0, 0
    for number in range(options.inputs):
        # The seeds themselves come first.
        content = mutator.seeds[number] if number < len(mutator.seeds) else mutator.next()
        held = peak_megabytes()
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, options.seconds)
        finding = ""
        try:
            accepted += examine(content)
        except TimeoutError:
            finding = f"no answer within {options.seconds:g} s"
        except BaseException:
            finding = traceback.format_exc().strip()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.perf_counter() - started)
        if held <= options.megabytes < peak_megabytes():
            finding = f"{peak_megabytes():.0f} MB held"
        if finding:
            failures += 1
            print(f"input {number}: {finding}\n  kept as {keep(content)}", flush=True)
            if failures == 10:
                print("stopped after 10 failures")
                break
    print(
        f"{number + 1} inputs from seed {options.seed}: {accepted} accepted, "
        f"{number + 1 - accepted - failures} refused, {failures} failures\n"
        f"{time.perf_counter() - began:.0f} s in all, {slowest:.2f} s the slowest; "
        f"at most {peak_megabytes():.0f} MB held, {before:.0f} MB before the first input"
    )
    return int(failures > 0 or peak_megabytes() > options.megabytes)


if __name__ == "__main__":
    sys.exit(main())
