"""How library functions are given a progress bar without knowing what draws it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Makes a progress bar from a description and a total; entered, it gives what advances it."""
