"""A model on an accelerator, with the same model on the CPU beside it for when that is lost.

The accelerator's model runs in a process of its own. When that crashes, hangs, fails or answers
wrongly, the frame it worked on is answered by the CPU, and so are the next ones, until another
process gives the answers that the first one gave to known images. That is tried in the background;
the run does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import AcceleratorError, DeviceError, InferenceLostError, ModelFileError
from qlvit_edge.inference.classifier import Classification, Classifier
from qlvit_edge.inference.closing import Closing
from qlvit_edge.inference.watchdog import finding_of, known_images, values

T = TypeVar("T")
Pixels = NDArray[np.uint8]

EDGE_TPU: Final = "Edge TPU"
CPU: Final = "CPU"

KNOWN_IMAGES = 12
"""Whose answers must be right before the accelerator is asked anything else."""

LOGIT_STEPS = 16
"""A logit that differs by more from the CPU's is wrong. An Edge TPU's rounding is not documented:
this was chosen (a sixteenth of the range of int8), not measured."""

FEATURE_STEPS = 8.0
"""The same for features, on average."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds from one attempt to get it back to the next: twice as long each time."""

STEADY_SECONDS = 60.0
"""One that was lost no sooner than this after it came is tried again at once."""

_NOT_THERE = (AcceleratorError, InferenceLostError, ModelFileError)
"""What an accelerator that is not plugged in, or not well, is known by; else nothing is set up."""


@dataclass(frozen=True)
class Backend:
    """What computed the answers of a frame.

    Attributes:
        name: `EDGE_TPU` or `CPU`.
        reason: why it did, where the frame before was computed by the other one, or the first
            frame of a run by the CPU.
    """

    name: str
    reason: str | None = None


class _LostError(Exception):
    """The accelerator failed in the middle of a frame."""


class Accelerator(Closing):
    """A classifier on an accelerator and its twin on the CPU; for one thread.

    Attributes:
        name: what computes now.
        finding: why that is the CPU; None where it is the accelerator.
        losses: times the accelerator was lost since `begin`.
        kernels_used: what runs on the accelerator, in words; None until it ran.
    """

    def __init__(
        self,
        opened: Callable[[], Classifier],
        twin: Classifier,
        *,
        background: Callable[[Callable[[], None]], threading.Thread | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it; where it does not start, the CPU begins, and it is tried again later.

        Args:
            opened: loads the model for the accelerator, and nothing but that model.
            twin: the same model on the CPU.
            background: does a piece of work in another thread; None: in one made for it.
            clock: seconds, by a clock that nobody sets.

        Raises:
            DeviceError: what no device mends: a runtime or library is missing or is none, the
                model was not compiled, or the twin does not run.
        """
        self._open, self._twin, self._clock = opened, twin, clock
        self._background = _in_thread if background is None else background
        self._images = known_images(twin, KNOWN_IMAGES)
        self._expected = [twin.infer(pixels) for pixels in self._images]
        self._first: list[tuple[bytes, ...]] | None = None
        self._one: Classifier | None = None
        self._ready: Classifier | None = None
        self._thread: threading.Thread | None = None
        self._failed: str | None = None
        self._closed = self._asked = False
        self._next = self._came = clock()
        self._pause, self._checks = FIRST_PAUSE, 0
        self.kernels_used: str | None = None
        try:
            self._one = self._proved()
            self.finding: str | None = None
        except _NOT_THERE as error:
            self.finding = str(error)
            self._next += self._pause
        self.begin(lambda text: None)

    @property
    def name(self) -> str:
        """What computes now."""
        return CPU if self._one is None else EDGE_TPU

    def begin(self, say: Callable[[str], None]) -> None:
        """Begin a run: count from 0, and tell another one what a user should know."""
        self.losses, self._say, self._said = 0, say, set[str]()
        self._reason = self.finding
        if self.finding is not None:
            say(f"the CPU computes, not the Edge TPU ({self.finding})")

    def frame(self, answer: Callable[[], T]) -> tuple[T, Backend]:
        """Have all cells of a frame answered by one of both, whose answers hold.

        Args:
            answer: asks `infer` about each cell. It is called again where the accelerator fails
                in between, or gives a known image another answer afterwards.

        Returns:
            What it returned, and which of both computed it.

        Raises:
            Exception: what ``answer`` raises.
        """
        self._take_back()
        if self._one is not None:
            self._asked = False
            try:
                found = answer()
                if self._asked:
                    self._require_known()
                return found, self._backend()
            except _LostError:
                pass
        return answer(), self._backend()

    def infer(
        self, pixels: Pixels, otherwise: Callable[[Pixels], Classification]
    ) -> Classification:
        """Classify an image within a call of `frame`.

        Args:
            pixels: what the classifier's `prepare` made.
            otherwise: classifies it on the CPU.
        """
        if self._one is None:
            return otherwise(pixels)
        self._asked = True
        try:
            return self._one.infer(pixels)
        except (DeviceError, ModelFileError) as error:
            self._lose(finding_of(error))
            raise _LostError from None

    def close(self) -> None:
        """End its process, and what tries to get it back."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=1)
        for one in (self._one, self._ready):
            if one is not None:
                one.close()
        self._one = self._ready = None

    def _backend(self) -> Backend:
        reason, self._reason = self._reason, None
        return Backend(self.name, reason)

    def _require_known(self) -> None:
        """Ask about a known image, another one each time: one wrong answer is enough.

        Raises:
            _LostError: the answer is not that of before.
        """
        number = self._checks % len(self._images)
        self._checks += 1
        if self._one is None or self._first is None:
            raise _LostError
        try:
            given = values(self._one.infer(self._images[number]))
        except (DeviceError, ModelFileError) as error:
            self._lose(finding_of(error))
            raise _LostError from None
        if given != self._first[number]:
            self._lose("it gives a known image another answer than before")
            raise _LostError

    def _lose(self, finding: str) -> None:
        """Go over to the CPU."""
        if self._one is not None:
            self._one.close()  # a stick belongs to one process at a time
            self._one = None
        self.losses += 1
        self.finding = finding
        self._reason = f"the Edge TPU is lost: {finding}"
        self._say(f"{self._reason}; the CPU computes until it is back")
        steady = self._clock() - self._came >= STEADY_SECONDS
        self._pause = 0.0 if steady else _longer(self._pause)
        self._next = self._clock() + self._pause

    def _take_back(self) -> None:
        """Go over to the accelerator where it is back; else see to it that it is tried for."""
        if self._one is not None or self._thread_works():
            return
        if self._ready is not None:
            self._one, self._ready = self._ready, None
            self.finding, self._came = None, self._clock()
            self._reason = "the Edge TPU is back, its answers to known images are right"
            self._say(f"{self._reason}; it computes again")
        elif self._failed is not None:
            self._pause = _longer(self._pause)
            self._next = self._clock() + self._pause
            if self._failed not in self._said:
                self._said.add(self._failed)
                self._say(f"the Edge TPU is not back ({self._failed}); it is tried again and again")
            self._failed = None
        elif self._clock() >= self._next:
            self._thread = self._background(self._attempt)

    def _thread_works(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _attempt(self) -> None:
        """Start it once more; in another thread, while the CPU computes."""
        try:
            one = self._proved()
        except Exception as error:  # whatever it is, the CPU goes on
            self._failed = finding_of(error)
            return
        if self._closed:
            one.close()
        else:
            self._ready = one

    def _proved(self) -> Classifier:
        """Start it and return it, if it answers known images as it must.

        Raises:
            AcceleratorError: it does not.
            QLViTEdgeError: it does not start.
        """
        one = self._open()
        try:
            answers = [one.infer(pixels) for pixels in self._images]
            given = [values(answer) for answer in answers]
            if self._first is None:
                _require_alike(answers, self._expected)
                self._first = given
            elif given != self._first:
                finding = "its answers to known images are not those it gave at first"
                raise AcceleratorError(EDGE_TPU, finding, "unplug it and plug it in again")
        except BaseException:
            one.close()
            raise
        self.kernels_used = one.kernels_used
        return one


def _require_alike(given: Sequence[Classification], expected: Sequence[Classification]) -> None:
    """Refuse answers that rounding does not explain.

    Raises:
        AcceleratorError: saying how far off they are.
    """
    for one, other in zip(given, expected, strict=True):
        logits = _steps(one.logits, other.logits)
        features = _steps(one.features, other.features)
        if logits.max(initial=0) > LOGIT_STEPS or (
            features.size and features.mean() > FEATURE_STEPS
        ):
            finding = (
                f"it answers a known image otherwise than the CPU: logits by up to "
                f"{logits.max(initial=0)} steps, where {LOGIT_STEPS} may be rounding"
            )
            if features.size:
                finding += f", features by {features.mean():.1f} on average"
            raise AcceleratorError(EDGE_TPU, finding, "do not use it; unplug it and try again")


def _steps(one: NDArray[np.generic] | None, other: NDArray[np.generic] | None) -> NDArray[np.int64]:
    if one is None or other is None:
        return np.zeros(0, np.int64)
    return np.abs(one.astype(np.int64) - other.astype(np.int64))


def _longer(pause: float) -> float:
    return min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * pause))


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="edge-tpu", daemon=True)
    thread.start()
    return thread
