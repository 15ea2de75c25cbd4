"""The recorded counts of the files that are shipped, and what counts as a rise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

RECORD = Path(__file__).with_name("recorded.json")
LARGEST_RISE = 1
"""Percent."""

Counts = dict[str, dict[str, int]]
"""Instructions by a file's name (without suffix) and processor."""


def load(path: Path = RECORD) -> Counts:
    """Read the recorded counts; none where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return {}
    found: Counts = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(counts: Mapping[str, Mapping[str, int]], path: Path = RECORD) -> None:
    """Put counts into the record, beside those of other files."""
    known = load(path)
    known.update({name: dict(by_cpu) for name, by_cpu in counts.items()})
    text = json.dumps(dict(sorted(known.items())), indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def verdicts(counts: Mapping[str, Mapping[str, int]], known: Counts) -> tuple[list[str], bool]:
    """Compare counts with recorded ones.

    Returns:
        One line per file and processor that has a record, and whether any rose by more than
        `LARGEST_RISE`.
    """
    lines, failed = [], False
    for name, by_cpu in counts.items():
        for cpu, now in by_cpu.items():
            before = known.get(name, {}).get(cpu)
            if before is None:
                continue
            change = 100 * (now - before)  # in whole numbers: percent of `before`, times it
            rose = change > LARGEST_RISE * before
            failed |= rose
            said = "more than 1 % above" if rose else "within 1 % of"
            if change < -LARGEST_RISE * before:
                said = "more than 1 % below (record it: --record)"
            line = f"{name} on {cpu}: {now / 1e6:.3f} million, {now / before - 1:+.2%}: {said}"
            lines.append(f"{line} the record of {before / 1e6:.3f}")
    return lines, failed
