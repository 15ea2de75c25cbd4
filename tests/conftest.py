"""Shared by all tests: `tests/helpers` and `tests/attacks` can be imported by module name."""

import os
import sys
from pathlib import Path

for _folder in ("helpers", "attacks"):
    sys.path.insert(0, str(Path(__file__).parent / _folder))

# The networks of the tests are so small that a second thread only waits for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")
