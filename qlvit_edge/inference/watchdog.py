"""A model that goes on for as long as a run does, whatever happens to its process.

A process that crashes, hangs or fails is ended and another one started; that one has to give the
first one's answers to known images before it is asked anything else. An image on which it fails
twice is given up. Where process after process is lost, the next one waits, longer each time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.inference.classifier import Classification, Classifier

TRIES = 2
"""Processes that an image may cost before it is given up."""

KNOWN_IMAGES = 3
"""Whose answers a new process must give; golden pairs of the file where it has some."""

MOST_NOTICES = 20
"""Notices of one run; a runtime in trouble must not fill the screen."""

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Patience:
    """How often a process is started again before the next start waits.

    Attributes:
        most: starts within `within_seconds` that need no waiting.
        within_seconds: see there; also how long none must be lost before all is forgotten.
        first_pause: seconds that the next start waits; twice as long each time.
        longest_pause: seconds that one waits at most.
    """

    most: int = 5
    within_seconds: float = 60.0
    first_pause: float = 5.0
    longest_pause: float = 60.0


class UnansweredError(Exception):
    """The runtime failed on an image again and again, or the run ended before it came back."""


class Watchdog:
    """Asks a classifier, and starts its process again when it is lost; for one thread.

    Attributes:
        restarts: processes that were started since.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        say: Callable[[str], None] = lambda text: None,
        stopped: Callable[[], bool] = lambda: False,
        rests: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Note what the process answers now; one that is lost meanwhile is started again.

        Args:
            classifier: the model; it runs in a process of its own.
            say: is told what a user should know.
            stopped: whether the run is to end: nothing is waited for then.
            rests: called again and again while the next start waits.
            patience: how long the next start waits.
            clock: seconds, by a clock that nobody sets.

        Raises:
            DeviceError: it fails on images of its own file, again in another process.
            ModelFileError: likewise.
        """
        self.restarts = 0
        self._classifier, self._stopped, self._tell = classifier, stopped, say
        self._rests = rests
        self._patience = patience if patience is not None else Patience()
        self._clock = clock
        self._starts: deque[float] = deque(maxlen=self._patience.most)
        self._pauses = 0
        self._notices = 0
        self._lost = False
        self._images = known_images(classifier)
        self._answers = self._first_answers()

    def _first_answers(self) -> list[tuple[bytes, ...]]:
        """Return one process's answers to all known images."""
        for _ in range(TRIES - 1):
            try:
                return self._answers_now()
            except (DeviceError, ModelFileError) as error:
                self._say(f"{finding_of(error)}; the model's process is started again")
            self._starts.append(self._clock())
            self.restarts += 1
            self._classifier.restart()
        return self._answers_now()

    def _answers_now(self) -> list[tuple[bytes, ...]]:
        return [values(self._classifier.infer(pixels)) for pixels in self._images]

    def infer(self, pixels: NDArray[np.uint8]) -> Classification:
        """Classify an image that the classifier's `prepare` made.

        Raises:
            UnansweredError: the runtime failed on it twice, or the run is to end.
        """
        for _ in range(TRIES):
            if self._lost:
                self._recover()
            try:
                return self._classifier.infer(pixels)
            except (DeviceError, ModelFileError) as error:
                self._lost = True
                self._say(f"{finding_of(error)}; the model's process is started again")
        raise UnansweredError

    def _recover(self) -> None:
        """Start processes until one answers as the first one did."""
        while True:
            self._rest(self._pause())
            self._starts.append(self._clock())
            self.restarts += 1
            try:
                self._classifier.restart()
                if self._answers_now() == self._answers:
                    self._lost = False
                    return
                finding = "the model's new process does not give the answers of the first one"
            except (DeviceError, ModelFileError) as error:
                finding = f"the model's process does not come back ({finding_of(error)})"
            self._say(finding)

    def _pause(self) -> float:
        """Return how many seconds the next start waits."""
        now, patience = self._clock(), self._patience
        if self._starts and now - self._starts[-1] > patience.within_seconds:
            self._pauses = 0
        recent = [start for start in self._starts if now - start <= patience.within_seconds]
        if not self._pauses and len(recent) < patience.most:
            return 0.0
        self._pauses += 1
        pause: float = patience.first_pause * 2 ** min(self._pauses - 1, 30)
        pause = min(patience.longest_pause, pause)
        self._say(
            f"the model's process was lost {patience.most} times within "
            f"{patience.within_seconds:.0f} s; the next one is started in {pause:.0f} s, "
            "and so on until one stays"
        )
        return pause

    def _rest(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._stopped():
            left = until - self._clock()
            if left <= 0:
                return
            self._rests()
            time.sleep(min(left, _LOOK_SECONDS))
        raise UnansweredError

    def _say(self, text: str) -> None:
        self._notices += 1
        if self._notices < MOST_NOTICES:
            self._tell(text)
        elif self._notices == MOST_NOTICES:
            self._tell(f"{text}; more of this is only counted")


def finding_of(error: Exception) -> str:
    """What was found, without its remedy: that is taken already."""
    return str(error).partition("; ")[0]


def known_images(classifier: Classifier, most: int = KNOWN_IMAGES) -> list[NDArray[np.uint8]]:
    """Images of the file's golden pairs; where it has none, noise of a fixed seed, not too wild."""
    metadata = classifier.metadata
    pairs = metadata.golden[:most]
    if pairs:
        return [pair.image(metadata.channels) for pair in pairs]
    shape = (KNOWN_IMAGES, *metadata.input_size, metadata.channels)
    return list(np.random.default_rng(0).integers(64, 192, shape, np.uint8))


def values(answer: Classification) -> tuple[bytes, ...]:
    """What a process really answered, to the byte."""
    return tuple(b"" if v is None else v.tobytes() for v in (answer.logits, answer.features))
