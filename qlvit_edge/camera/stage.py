"""A camera over a slide that is moved by hand: real fields side by side, and a restless stage.

The operator goes from place to place, stops, comes back to where they were, and at times pushes
the stage faster than frames follow. Meanwhile hand and table shake, the stage creeps, focus and
lamp drift, and the lamp is turned. Everything follows from the seed; where each frame really lies
is known (`StageCamera.corner`), which no real microscope tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.paced import PacedCamera, developed

Image = NDArray[np.uint8]

VIGNETTE: Final = 0.12
"""Share of light that the corners of every frame lack."""

NOISE: Final = 1.5
"""Standard deviation of the sensor's noise, in grey levels."""

WORST_BLUR: Final = 2.5
"""Standard deviation of the blur, in pixels, where focus is usually worst."""


@dataclass(frozen=True)
class Handling:
    """How restless hand, focus and lamp are; the defaults are the usual.

    Attributes:
        jitter: standard deviation, in pixels, by which the stage shakes from frame to frame.
        creep: largest distance, in pixels, that it creeps from where the hand left it.
        speed: share of a frame by which the usual move goes on per frame.
        push_speed: the same of a push.
        pushes: share of the moves that are pushes.
        returns: share of the moves that lead back to where the stage was before.
        longest_stop: frames that a stop lasts at most.
        exposure: share of the time between two frames in which the sensor takes light.
        blur: standard deviation of the blur, in pixels, where focus is worst.
        lamp_swing: share by which the lamp swings.
        lamp_turned: share by which somebody turns it now and then.
    """

    jitter: float = 0.8
    creep: float = 4.0
    speed: float = 0.12
    push_speed: float = 0.7
    pushes: float = 0.05
    returns: float = 0.3
    longest_stop: int = 8
    exposure: float = 0.15
    blur: float = WORST_BLUR
    lamp_swing: float = 0.08
    lamp_turned: float = 0.15


class _Position(NamedTuple):
    x: float
    y: float


class StageCamera(PacedCamera):
    """Gives frames of a slide that is laid out of a folder's images, without end."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        fps: float = 10.0,
        size: tuple[int, int] = (640, 480),
        handling: Handling | None = None,
    ) -> None:
        """Look the folder through and lay its images out, as many across as down.

        Args:
            folder: images of fields of view; each becomes a piece of the slide of the first
                one's size.
            seed: decides where each lies, every movement, drift and noise.
            fps: frames per second, at most; 0 gives them as fast as they are taken.
            size: (width, height) of the frames in pixels, at most that of the slide.
            handling: how restless hand, focus and lamp are; None: as usual.

        Raises:
            CameraError: see `qlvit_edge.camera.folder.pictures`.
            DataError: the first image is damaged.
        """
        super().__init__(f"simulated:{folder}?stage=hand", folder, seed=seed, fps=fps)
        self._handling = handling or Handling()
        first = self._decode(0)
        self._piece = first.shape[1], first.shape[0]
        self._columns = math.ceil(math.sqrt(len(self._paths)))
        self._rows = math.ceil(len(self._paths) / self._columns)
        self.slide_size = self._columns * self._piece[0], self._rows * self._piece[1]
        self._size = min(size[0], self.slide_size[0]), min(size[1], self.slide_size[1])
        self._field = lru_cache(maxsize=9)(self._load)
        order = np.random.default_rng((seed, 0)).permutation(len(self._paths))
        # The last row is filled up from the beginning.
        self._order = [int(order[n % len(order)]) for n in range(self._columns * self._rows)]
        y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in self._size[::-1])
        self._vignette = np.asarray(1 - VIGNETTE * (x[None] ** 2 + y[:, None] ** 2) / 2, np.float32)
        self._hand = np.random.default_rng((seed, 1))
        self._stops = [self._somewhere()]
        self._track = [self._stops[0]]

    def corner(self, index: int) -> tuple[float, float]:
        """Return the upper left corner of frame ``index`` on the slide, in pixels."""
        while len(self._track) <= index:
            self._move_on()
        x, y = self._track[index]
        hand = self._handling
        shake = np.random.default_rng((self._seed, 2, index)).standard_normal(2) * hand.jitter
        x += hand.creep * self._wave(index, 83, 3) + float(shake[0])
        y += hand.creep * self._wave(index, 59, 4) + float(shake[1])
        return self._held(x, 0), self._held(y, 1)

    def view(self, index: int) -> tuple[Image, str]:
        """Return frame ``index`` as (H, W, 3) uint8 RGB, and the field it mostly shows."""
        x, y = self.corner(index)
        width, height = self._size
        image = self.still(x, y)
        before, after = self.corner(max(index - 1, 0)), self.corner(index + 1)
        lit = self._handling.exposure / 2
        path = (after[0] - before[0]) * lit, (after[1] - before[1]) * lit
        middle = self._order[
            self._columns * (int(y + height / 2) // self._piece[1])
            + int(x + width / 2) // self._piece[0]
        ]
        return self._sensed(_smeared(image, *path), index), self._relative(middle)

    def still(self, x: float, y: float) -> Image:
        """Return what lies on the slide there, sharp and evenly lit, as (H, W, 3) uint8 RGB."""
        width, height = self._size
        left, top = math.floor(x), math.floor(y)
        cut = self._cut(left, top, width + 1, height + 1)
        shift = np.array([[1, 0, left - x], [0, 1, top - y]], np.float64)
        moved = cv2.warpAffine(cut, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    def _cut(self, left: int, top: int, width: int, height: int) -> Image:
        out = np.zeros((height, width, 3), np.uint8)
        across, down = self._piece
        for row in range(top // down, min((top + height - 1) // down, self._rows - 1) + 1):
            for column in range(
                left // across, min((left + width - 1) // across, self._columns - 1) + 1
            ):
                field = self._field(self._order[row * self._columns + column])
                x, y = column * across - left, row * down - top
                x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + across, width), min(y + down, height)
                out[y0:y1, x0:x1] = field[y0 - y : y1 - y, x0 - x : x1 - x]
        beyond = left + width - self.slide_size[0], top + height - self.slide_size[1]
        if beyond[0] > 0:
            out[:, width - beyond[0] :] = out[:, width - beyond[0] - 1 : width - beyond[0]]
        if beyond[1] > 0:
            out[height - beyond[1] :] = out[height - beyond[1] - 1 : height - beyond[1]]
        return out

    def _load(self, number: int) -> Image:
        image = self._decode(number)
        return np.asarray(cv2.resize(image, self._piece, interpolation=cv2.INTER_AREA), np.uint8)

    def _somewhere(self) -> _Position:
        room = self.slide_size[0] - self._size[0], self.slide_size[1] - self._size[1]
        x, y = self._hand.random(2) * room
        return _Position(float(x), float(y))

    def _next_stop(self, here: _Position) -> _Position:
        if self._hand.random() < self._handling.returns and len(self._stops) > 2:
            return self._stops[int(self._hand.integers(len(self._stops) - 1))]
        step = self._hand.uniform(0.3, 1.3, 2) * self._hand.choice([-1, 1], 2) * self._size
        return _Position(
            self._held(here.x + float(step[0]), 0), self._held(here.y + float(step[1]), 1)
        )

    def _move_on(self) -> None:
        """Add a move and a stop to the track."""
        here = self._track[-1]
        there = self._next_stop(here)
        if there not in self._stops[-50:]:
            self._stops.append(there)
        hand = self._handling
        speed = hand.push_speed if self._hand.random() < hand.pushes else hand.speed
        far = max(
            abs(there.x - here.x) / self._size[0], abs(there.y - here.y) / self._size[1], 1e-6
        )
        frames = max(1, math.ceil(1.5 * far / speed))
        for number in range(1, frames + 1):
            share = number / frames
            share = share * share * (3 - 2 * share)
            self._track.append(
                _Position(here.x + share * (there.x - here.x), here.y + share * (there.y - here.y))
            )
        self._track += [there] * int(self._hand.integers(2, hand.longest_stop + 1))

    def _held(self, value: float, axis: int) -> float:
        return float(np.clip(value, 0, self.slide_size[axis] - self._size[axis]))

    def _sensed(self, image: Image, index: int) -> Image:
        """What the sensor makes of it: focus, lamp, vignette, noise."""
        hand = self._handling
        blur = hand.blur * max(0.0, self._wave(index, 131, 5)) ** 3
        if blur > 0.3:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
        turned = np.random.default_rng((self._seed, 6, index // 90)).uniform(-1, 1)
        turned *= hand.lamp_turned
        lamp = (1 + hand.lamp_swing * self._wave(index, 211, 7)) * (0.85 + turned)
        warmth = 0.02 * self._wave(index, 173, 8)
        gain = np.array([1 + warmth, 1.0, 1 - warmth], np.float32) * np.float32(lamp)
        noise = np.random.default_rng((self._seed, 9, index)).standard_normal(
            image.shape[:2], np.float32
        )
        noise *= np.float32(NOISE)
        return developed(image, gain, noise, self._vignette)


def _smeared(image: Image, x: float, y: float) -> Image:
    """Blur an image along the path, in pixels, that it takes while the sensor takes light."""
    length = math.hypot(x, y)
    if length < 1:
        return image
    half = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    ends = [
        (round(16 * (half + sign * x / 2)), round(16 * (half + sign * y / 2))) for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
