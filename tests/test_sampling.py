"""Which images an epoch draws: every one, or classes and microscopes equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qlvit_edge.data.loader import CachedImage
from qlvit_edge.data.sampling import domain_chances, draws_twice, order

PIXEL = np.zeros((1, 1, 3), np.uint8)


def entry(label: int, domain: str, source: str = "") -> CachedImage:
    return CachedImage(PIXEL, PIXEL, None, label, domain, source)


IMAGES = [
    *[entry(0, "a", "one")] * 6,
    *[entry(0, "a", "two")] * 2,
    *[entry(0, "b")] * 3,
    entry(1, "b", "one"),
]
"""Class 0 of microscope a from two sources, of b from three images; class 1 of b."""


def test_chances_are_equal_level_by_level() -> None:
    chances = domain_chances(IMAGES)
    assert chances.tolist() == pytest.approx(
        [1 / 3 / 2 / 6] * 6 + [1 / 3 / 2 / 2] * 2 + [1 / 3 / 3] * 3 + [1 / 3]
    )


def test_domains_are_drawn_as_often_as_their_chances_say() -> None:
    drawn = order(IMAGES, "domains", 6000, np.random.default_rng(0))
    kinds = Counter((IMAGES[index].label, IMAGES[index].domain) for index in drawn)
    assert all(1850 < kinds[kind] < 2150 for kind in ((0, "a"), (0, "b"), (1, "b")))
    sources = Counter(IMAGES[index].source for index in drawn if IMAGES[index].domain == "a")
    assert sources["one"] == pytest.approx(sources["two"], rel=0.1)


def test_an_epoch_shows_every_image_before_one_again() -> None:
    rng = np.random.default_rng(1)
    assert sorted(order(IMAGES, "none", None, rng).tolist()) == list(range(12))
    longer = order(IMAGES, "none", 30, rng)
    assert sorted(longer[:12].tolist()) == sorted(longer[12:24].tolist()) == list(range(12))
    assert len(set(longer[24:].tolist())) == 6
    shorter = order(IMAGES, "none", 5, rng)
    assert len(set(shorter.tolist())) == 5


def test_what_may_be_drawn_twice_is_known() -> None:
    assert not draws_twice("none", None, 12)
    assert not draws_twice("loss", 12, 12)
    assert draws_twice("none", 13, 12)
    assert draws_twice("sampling", None, 12)
    assert draws_twice("domains", 3, 12)
