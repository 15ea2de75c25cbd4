"""`qlvit-edge` on an emulated processor: the command's children run emulated too.

    python benchmarks/emulated_command.py PYTHON ARGUMENT...

PYTHON is what starts this interpreter again, a script: without it the kernel of the host would be
asked to start a program of another processor.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command with what stands behind the interpreter."""
    sys.executable, arguments = sys.argv[1], sys.argv[2:]
    from qlvit_edge.__main__ import main as command

    sys.argv = ["qlvit-edge", *arguments]
    command()


if __name__ == "__main__":
    main()
