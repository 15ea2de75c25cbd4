"""A guard for the tiny test model: it knows plain images of three strong colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_metadata import metadata, plain_features, plain_image, plain_logits
from tiny_model import COLOURS, tiny_model

from qlvit_edge.calibration.guard import fit_guard
from qlvit_edge.calibration.guard_answers import Answer
from qlvit_edge.calibration.quality import Quality
from qlvit_edge.fields.quality import QUALITY, image_measures
from qlvit_edge.guard.judge import Judge
from qlvit_edge.modelfile.golden_pair import GoldenPair
from qlvit_edge.modelfile.guard import Guard, Measure
from qlvit_edge.modelfile.metadata import embed

LEVELS = range(185, 216)


@dataclass(frozen=True)
class TinyNetwork:
    """What a guard needs to know of the tiny model's outputs."""

    logit_scale: float = 2.0
    feature_scale: float = 1.0
    feature_zero_point: int = -128
    width: int = 3

    def temperature_near(self, temperature: float) -> float:
        """Every temperature will do."""
        return temperature


def answers(levels: Sequence[int], *, domain: str = "lamp", seed: int = 0) -> list[Answer]:
    """What the tiny model says of slightly noisy plain images, one per class and level."""
    rng = np.random.default_rng(seed)
    found = []
    for number, name in enumerate(COLOURS):
        for level in levels:
            pixels = noisy(plain_image(name, level=level), rng)
            found.append(
                Answer(
                    logits=plain_logits(pixels),
                    features=plain_features(pixels),
                    measures=image_measures(pixels),
                    label=number,
                    domain=domain,
                    source=f"{domain} {level}",
                    view="whole image",
                )
            )
    return found


def noisy(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary an image by a few levels, each pixel by itself."""
    return np.clip(pixels + rng.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8)


def tiny_guard(*, rate: float = 0.05) -> Guard:
    """Fit a guard to the tiny model."""
    return fit_guard(
        TinyNetwork(),
        answers(LEVELS),
        answers(LEVELS, seed=1),
        Quality([Measure(name=name) for name in QUALITY], []),
        data="plain colours",
        rate=rate,
        split=None,
    )


def guarded_file(path: Path, guard: Guard | None = None) -> Path:
    """Write the tiny model with features and a guard to ``path`` and return it."""
    guard = guard or tiny_guard()
    judge = Judge(guard)
    plain = metadata(features=True)
    pairs = []
    for pair in plain.golden:
        pixels = pair.image()
        logits, features = plain_logits(pixels), plain_features(pixels)
        judged = judge.judge_input(logits, features, pixels).integers
        pairs.append(
            GoldenPair.of(
                pixels, logits, logits, pair.label, pair.source, features=features,
                xnnpack_features=features, judgement=judged, xnnpack_judgement=judged,
            )
        )  # fmt: skip
    described = type(plain).model_validate({**dict(plain), "guard": guard, "golden": pairs})
    path.write_bytes(embed(tiny_model(features=True), described))
    return path
