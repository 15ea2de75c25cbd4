"""How often the intervals of a differential hold the true share.

Run as ``python benchmarks/differential_coverage.py [--samples N] [--seed N] [--replicates N]``.
Each virtual sample has a true mix of classes, a model with mistakes of its own that it makes more
on some sources than on others, a set of held-out cells from which these mistakes are known, and a
count of 100 to 1000 cells. Printed as JSON: the share of classes whose true share lies within the
corrected interval, and within the exact limits of the count alone, which know nothing of mistakes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.differential.correction import (
    REPLICATES,
    NotCorrectableError,
    correct,
    require_correctable,
)
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.statistics import binomial_tail

MIXES = (
    (0.60, 0.30, 0.07, 0.03),
    (0.55, 0.30, 0.08, 0.05, 0.02),
    (0.62, 0.28, 0.06, 0.03, 0.005, 0.005),
)
COUNTED = (100, 200, 500, 1000)
SOURCES = (40, 100, 300)
CELLS_PER_SOURCE = (1, 5, 20)
CONCENTRATIONS = (20, 200)
"""Of a source's mistakes around the model's: with 20 they differ by about 8 points at 85 %."""


@dataclass(frozen=True)
class VirtualSample:
    """One sample.

    Attributes:
        mix: (classes,) true shares.
        counts: accepted cells by class.
        confusion: the model's mistakes as they are known.
        counted: cells that were looked at.
    """

    mix: NDArray[np.float64]
    counts: list[int]
    confusion: Confusion
    counted: int


def virtual_sample(generator: np.random.Generator) -> VirtualSample:
    """Draw one whose mistakes are known well enough."""
    mix = np.array(MIXES[generator.integers(len(MIXES))])
    while True:
        answers = _answers(generator, len(mix))
        confusion = _held_out(generator, answers)
        try:
            require_correctable(confusion, len(mix))
        except NotCorrectableError:
            continue
        counted = int(generator.choice(COUNTED))
        counts = generator.multinomial(counted, mix @ answers)[: len(mix)]
        if counts.sum():
            return VirtualSample(mix, counts.tolist(), confusion, counted)


def _answers(generator: np.random.Generator, classes: int) -> NDArray[np.float64]:
    """Draw a model: (classes, classes + 1) probabilities of its answers by true class."""
    answers = np.zeros((classes, classes + 1))
    for label, row in enumerate(answers):
        recall, accepted = generator.uniform(0.85, 0.99, 2)
        row[:classes] = np.insert(generator.dirichlet(np.ones(classes - 1)), label, 0)
        row[:classes] *= 1 - recall
        row[label] = recall
        row *= accepted
        row[classes] = 1 - accepted
    return answers


def _held_out(generator: np.random.Generator, answers: NDArray[np.float64]) -> Confusion:
    """Draw held-out cells: sources with equal shares of the classes, and answers to them."""
    classes = len(answers)
    size, concentration = generator.choice(CELLS_PER_SOURCE), generator.choice(CONCENTRATIONS)
    found: list[tuple[int, int, str]] = []
    for source in range(generator.choice(SOURCES)):
        cells = np.bincount(generator.integers(classes, size=size), minlength=classes)
        for label in np.flatnonzero(cells):
            row = generator.dirichlet(concentration * answers[label] + 1e-9)
            given = generator.multinomial(cells[label], row)
            for answer in np.repeat(np.arange(classes + 1), given):
                found.append((int(label), int(answer), str(source)))
    labels, answered, sources = zip(*found, strict=True)
    return Confusion.of(labels, answered, sources, data="virtual", accept_at=0.8)


def coverage(samples: int, seed: int, replicates: int) -> dict[str, object]:
    """Return how often intervals hold the true share, over all classes of so many samples."""
    generator = np.random.default_rng(seed)
    held: defaultdict[str, list[bool]] = defaultdict(list)
    for number in range(samples):
        sample = virtual_sample(generator)
        found = correct(sample.counts, sample.confusion, replicates=replicates, seed=number)
        total = sum(sample.counts)
        for share, count, low, high in zip(
            sample.mix, sample.counts, found.low, found.high, strict=True
        ):
            inside = bool(low <= share <= high)
            held["corrected"].append(inside)
            held[f"corrected, {sample.counted} cells"].append(inside)
            held["corrected, true share below 5 %"].extend([inside] if share < 0.05 else [])
            allowed = _within_exact_limits(count, total, float(share))
            held["count alone"].append(allowed)
            held[f"count alone, {sample.counted} cells"].append(allowed)
    return {
        "samples": samples,
        "classes": len(held["corrected"]),
        "coverage": {name: float(np.mean(inside)) for name, inside in sorted(held.items())},
    }


def _within_exact_limits(count: int, total: int, share: float) -> bool:
    """Tell whether the exact 95 % limits of a count hold a share, without working them out."""
    at_least = binomial_tail(count, total, share)
    at_most = binomial_tail(total - count, total, 1 - share)
    return min(at_least, at_most) >= 0.025


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    given = parser.parse_args()
    print(json.dumps(coverage(given.samples, given.seed, given.replicates), indent=2))


if __name__ == "__main__":
    main()
