"""Feed hostile inputs to everything that reads foreign bytes; models have fuzzers of their own.

    python tests/attacks/fuzz_foreign.py [TARGET ...] [--inputs 20000] [--seed 1] [--seconds S]

Without a name all targets are attacked; --list names them. See `frame` for what is right and what
is wrong. Exit code 1 for a failure; the offending input is kept beside its message.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import target_configuration
import target_delivery
import target_documents
import target_images
import target_page
import target_results
import target_streams
from frame import attack_apart

_MODULES = (
    target_images,
    target_results,
    target_page,
    target_streams,
    target_delivery,
    target_configuration,
    target_documents,
)
TARGETS = {target.name: target for module in _MODULES for target in module.TARGETS}


def main() -> int:
    """Attack one target after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="that one input may take")
    parser.add_argument("--list", action="store_true", help="name the targets")
    options = parser.parse_args()
    if options.list:
        print("\n".join(TARGETS))
        return 0
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; --list names them")
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    well = [
        attack_apart(target, options.inputs, options.seed, seconds=options.seconds)
        for target in chosen
    ]
    return int(not all(well))


if __name__ == "__main__":
    sys.exit(main())
