"""A camera on a simulated microscope: a motor stage steps over real fields of view.

The stage rests on each field, drifting by a pixel or two, then glides to the next one.
Focus and lamp drift slowly and the sensor is noisy. Everything follows from the seed, frame
by frame; only the pace follows the clock.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.paced import PacedCamera, developed

REST_FRAMES = 6
"""Frames that the stage rests on a field."""

MOVE_FRAMES = 4
"""Frames that it takes to glide to the next field."""

SEAM = 24
"""Pixels over which two neighbouring fields are blended."""

SHAKE = 3.0
"""Largest drift of a resting stage, in pixels."""

WORST_BLUR = 1.0
"""Standard deviation of the blur, in pixels, where focus is worst."""

LAMP_SWING = 0.05
"""Share by which the lamp's brightness swings."""

NOISE = 1.5
"""Standard deviation of the sensor's noise, in grey levels."""


class SimulatedCamera(PacedCamera):
    """Gives frames of a stage that moves over the images of a folder, without end."""

    identity = "simulated"

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        fps: float = 10.0,
        size: tuple[int, int] = (640, 480),
    ) -> None:
        """Look the folder through and plan the first scan.

        Args:
            folder: images of fields of view, all resized to ``size``.
            seed: decides the order of fields, every movement, drift and noise.
            fps: frames per second, at most; 0 gives them as fast as they are taken.
            size: (width, height) of the frames in pixels.

        Raises:
            CameraError: see `qlvit_edge.camera.folder.pictures`.
        """
        super().__init__(f"simulated:{folder}", folder, seed=seed, fps=fps)
        self._size = size
        self._field = lru_cache(maxsize=3)(self._load)

    def view(self, index: int) -> tuple[NDArray[np.uint8], str]:
        """Return frame ``index`` as (H, W, 3) uint8 RGB, and the field it mostly shows."""
        step, phase = divmod(index, REST_FRAMES + MOVE_FRAMES)
        here, there = self._order(step), self._order(step + 1)
        generator = np.random.default_rng((self._seed, 1, index))
        if phase < REST_FRAMES:
            image, shown = self._field(here), here
        else:
            share = _ease((phase - REST_FRAMES + 1) / (MOVE_FRAMES + 1))
            sideways = bool(np.random.default_rng((self._seed, 2, step)).integers(2))
            image = _between(self._field(here), self._field(there), share, sideways)
            shown = here if share < 0.5 else there
        image = self._shaken(image, index)
        return self._sensed(image, index, generator), self._relative(shown)

    def _order(self, step: int) -> int:
        """The field on which the stage rests in ``step``: each once, then another round."""
        lap, place = divmod(step, len(self._paths))
        return int(np.random.default_rng((self._seed, 0, lap)).permutation(len(self._paths))[place])

    def _load(self, number: int) -> NDArray[np.uint8]:
        image = self._decode(number)
        return np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def _shaken(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        x, y = (SHAKE * self._wave(index, period, salt) for period, salt in ((23, 3), (31, 4)))
        shift = np.array([[1, 0, x], [0, 1, y]], np.float64)
        moved = cv2.warpAffine(image, shift, self._size, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(moved, np.uint8)

    def _sensed(
        self, image: NDArray[np.uint8], index: int, generator: np.random.Generator
    ) -> NDArray[np.uint8]:
        """What the sensor makes of it: focus, lamp, noise."""
        blur = WORST_BLUR * max(0.0, self._wave(index, 97, 5))
        if blur > 0.2:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
        lamp = 1 + LAMP_SWING * self._wave(index, 211, 6)
        warmth = 0.02 * self._wave(index, 173, 7)
        gain = lamp * np.array([1 + warmth, 1.0, 1 - warmth])
        noise = generator.standard_normal(image.shape[:2], np.float32)
        noise *= np.float32(NOISE)
        return developed(image, gain.astype(np.float32), noise)


def _ease(share: float) -> float:
    """Start and stop gently: 0 → 0, 1 → 1, flat at both ends."""
    return share * share * (3 - 2 * share)


def _between(
    here: NDArray[np.uint8], there: NDArray[np.uint8], share: float, sideways: bool
) -> NDArray[np.uint8]:
    """The view ``share`` of the way between two neighbouring fields."""
    if not sideways:
        turned = _between(here.swapaxes(0, 1), there.swapaxes(0, 1), share, True)
        return np.ascontiguousarray(turned.swapaxes(0, 1))
    width = here.shape[1]
    seam = min(SEAM, width)
    weight = np.linspace(0, 1, seam, dtype=np.float32)[None, :, None]
    blend = here[:, width - seam :] * (1 - weight) + there[:, :seam] * weight
    strip = np.concatenate(
        [here[:, : width - seam], np.rint(blend).astype(np.uint8), there[:, seam:]], axis=1
    )
    left = round(share * (width - seam))
    return np.ascontiguousarray(strip[:, left : left + width])
