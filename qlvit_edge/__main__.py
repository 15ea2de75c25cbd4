"""`python -m qlvit_edge` is `qlvit-edge`."""

from __future__ import annotations

from qlvit_edge.cli import main

if __name__ == "__main__":
    main()
