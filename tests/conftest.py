"""Shared by all tests: `tests/helpers` and `tests/attacks` can be imported by module name."""

import sys
from pathlib import Path

for _folder in ("helpers", "attacks"):
    sys.path.insert(0, str(Path(__file__).parent / _folder))
