"""`python -m qlvit_edge` is `qlvit-edge`; both begin here."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it; an interrupt meanwhile is said in one line, too."""
    try:
        from qlvit_edge.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
