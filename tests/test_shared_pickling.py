"""Threads hand the same objects to children of their own, as the proof does with its graph."""

import os
import subprocess
import sys

PROGRAM = """
import gc, sys, time
from concurrent.futures import ThreadPoolExecutor
from qlvit_edge.converters.graph import Tensor
from qlvit_edge.inference.child import _pickled
# Python code while garbage is collected, as finalisers are, which lets another thread run
gc.callbacks.append(lambda phase, info: time.sleep(1e-4))
sys.setswitchinterval(1e-5)
for _ in range(10):
    gc.set_threshold(20, 5, 5)
    tensors = [Tensor(str(n), (1, n), "int8", [n]) for n in range(200)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(_pickled, [tensors, tensors])
    assert first == second
    del tensors
    gc.collect()
print("done")
"""


def test_one_thread_at_a_time_pickles() -> None:
    """CPython 3.11 gives an object two `__dict__`s otherwise, and its collector crashes."""
    ran = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
