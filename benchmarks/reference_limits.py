"""How often the limits of the daily check are broken by chance alone, and when a drift is noticed.

    python benchmarks/reference_limits.py

Days are drawn: shares of cells from the binomial distribution, measures from the normal one, each
series apart from the others. Of 60 checks in control the first 20 are learnt from; then one thing
changes.
"""

from __future__ import annotations

import argparse

import numpy as np

from qlvit_edge.reference.history import Record
from qlvit_edge.reference.limits import LEARNT_FROM, SERIES, Limits, broken_rules, learnt

CELLS = 100
USUAL = {"red": 187.0, "green": 174.0, "blue": 183.0, "white level": 210.0, "sharpness": 2838.0}
SPREAD = {"red": 2.0, "green": 2.0, "blue": 2.0, "white level": 2.0, "sharpness": 25.0}
LOCATED, AGREED = 0.97, 0.93


def drawn(rng: np.random.Generator, number: int, moved: dict[str, float]) -> Record:
    """One check: as usual, but for what is moved (of measures in standard deviations)."""
    located = int(rng.binomial(CELLS, moved.get("located", LOCATED)))
    agreed = int(rng.binomial(located, moved.get("agreed", AGREED)))
    return Record(
        at=f"2026-01-01T00:00:{number % 60:02}",
        reference="0" * 64,
        model="m",
        model_sha256="0" * 64,
        program="p",
        runtime="r",
        kernels="k",
        labelled=CELLS,
        located=located,
        compared=located,
        agreed=agreed,
        extra=0,
        answers=[],
        counts={},
        measures={
            name: float(rng.normal(USUAL[name] + moved.get(name, 0.0) * SPREAD[name], SPREAD[name]))
            for name in USUAL
        },
    )


def false_alarms(histories: int, checks: int, seed: int) -> tuple[dict[str, float], float]:
    """Return the share of checks in control that break a limit, by series and of all together."""
    rng = np.random.default_rng(seed)
    alarms = dict.fromkeys((series.name for series in SERIES), 0)
    together = judged = 0
    for _ in range(histories):
        records: list[Record] = []
        for number in range(checks):
            today = drawn(rng, number, {})
            if number >= LEARNT_FROM:
                broken = _broken(_limits(records), records[LEARNT_FROM:], today)
                for name in broken:
                    alarms[name] += 1
                together += bool(broken)
                judged += 1
            records.append(today)
    return {name: count / judged for name, count in alarms.items()}, together / judged


def checks_until_noticed(moved: dict[str, float], histories: int, seed: int) -> list[int]:
    """Return after how many changed checks a limit of the changed series is broken, sorted."""
    rng = np.random.default_rng(seed)
    name = next(iter(moved))
    name = {"located": "cells located", "agreed": "agreement"}.get(name, name)
    found = []
    for _ in range(histories):
        records = [drawn(rng, number, {}) for number in range(LEARNT_FROM)]
        limits = _limits(records)
        after = 0
        while after < 200:
            today = drawn(rng, after, moved)
            after += 1
            if name in _broken(limits, records[LEARNT_FROM:], today):
                break
            records.append(today)
        found.append(after)
    return sorted(found)


def _limits(records: list[Record]) -> dict[str, Limits]:
    return {series.name: limits for series in SERIES if (limits := learnt(series, records))}


def _broken(limits: dict[str, Limits], before: list[Record], today: Record) -> list[str]:
    return [name for name, one in limits.items() if broken_rules(one, before, today)]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shares, together = false_alarms(options.histories, 60, options.seed)
    print(f"in control, {options.histories} histories of 40 judged checks: false alarms per check")
    for name, share in shares.items():
        print(f"  {name}: {share:.2%}")
    print(f"  any of them: {together:.2%}")
    print("changed: checks until it is noticed (median, nine in ten)")
    changes = {
        "located 97 % to 90 %": {"located": 0.90},
        "agreement 93 % to 85 %": {"agreed": 0.85},
        "white level by 1 standard deviation": {"white level": 1.0},
        "white level by 2": {"white level": 2.0},
        "white level by 4": {"white level": 4.0},
    }
    for words, moved in changes.items():
        row = checks_until_noticed(moved, options.histories, options.seed)
        print(f"  {words}: {row[len(row) // 2]}, {row[len(row) * 9 // 10]}")


if __name__ == "__main__":
    main()
