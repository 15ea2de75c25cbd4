"""What a camera is to the rest of the program, and how live ones are kept from stalling it.

A camera is opened once, gives frames until it ends or is closed, and says with
`CameraStalledError` when frames stop coming.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.report import CameraReport
from qlvit_edge.camera.settings import UNKNOWN_SETTINGS, CameraSettings
from qlvit_edge.errors import CameraError, CameraStalledError, DeviceError
from qlvit_edge.imagefolder import finding_in

STALL_SECONDS = 30.0
"""A live camera without a whole frame for this long has stalled, whatever was tried meanwhile."""

FIRST_WAIT = 0.5
"""Seconds before a lost camera is opened again; doubled each time, up to `LAST_WAIT`."""

LAST_WAIT = 5.0

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        index: number of the frame since the camera was opened, from 0; a live camera
            leaves out numbers of frames that nobody took in time.
        timestamp: when it was taken, seconds since 1970 (UTC).
        source: the file it came from, relative to the camera's folder; empty for others.
        position_ms: where it lies in its video, in milliseconds; None where there is none.
        monotonic: when it was taken by a clock that nobody sets (`time.monotonic`), in
            seconds: its age is the difference to now.
        settings: the camera's, as far as it tells them.
        small: (h, w, 3) uint8 RGB: the same view in fewer pixels, where the camera gives
            both, for looking for cells; None where there is only ``image``.
    """

    image: NDArray[np.uint8]
    index: int
    timestamp: float
    source: str = ""
    position_ms: float | None = None
    monotonic: float = field(default_factory=time.monotonic)
    settings: CameraSettings = UNKNOWN_SETTINGS
    small: NDArray[np.uint8] | None = None


class Camera(Protocol):
    """Anything that gives frames.

    Attributes:
        name: the source as the user wrote it, without passwords, for messages and results.
        report: what was left out, and what else happened.
        identity: which camera it is, the same whenever it is opened; "" where that is not
            known: a stored picture does not say what took it. Known once it was entered.
    """

    name: str
    report: CameraReport

    @property
    def identity(self) -> str:
        """Which camera it is."""

    def __enter__(self) -> Self:
        """Start the camera."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and release it."""

    def frames(self) -> Iterator[Frame]:
        """Give frames until the source ends.

        Raises:
            CameraStalledError: no frame came in time.
            DataError: the source's only picture is damaged.
        """


class SourceEndedError(Exception):
    """The source says that there will be no more frames."""


class LiveCamera(ABC):
    """Base of cameras that go on whether or not anybody looks.

    A thread of its own reads, so that a driver that never returns cannot hang the program,
    and only the newest frame is kept: results are about now, not about a queue.

    Attributes:
        name: the source, for messages and results.
        report: damaged frames, lost connections, changes of size.
    """

    remedy = "check the cable and start again; results are kept"

    def __init__(self, name: str, *, stall_seconds: float = STALL_SECONDS) -> None:
        self.name = name
        self.report = CameraReport()
        self._stall_seconds = stall_seconds
        self._leave_seconds = 2.0
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._trouble: str | None = None
        self._identity = name
        self._ended = False
        self._disturbance = ""
        self._wait = FIRST_WAIT
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name=f"camera {name}", daemon=True)

    @abstractmethod
    def _start(self) -> None:
        """Open the camera; raises CameraError where it is not there."""

    @abstractmethod
    def _read(self) -> NDArray[np.uint8] | None:
        """Wait for the next (H, W, 3) uint8 RGB image; None when the camera is gone.

        Raises:
            SourceEndedError: the source itself says that it is over.
        """

    @abstractmethod
    def _close(self) -> None:
        """Release the camera."""

    def _settings(self) -> CameraSettings:
        """Return the settings of the image that `_read` returned last."""
        return UNKNOWN_SETTINGS

    def _small(self) -> NDArray[np.uint8] | None:
        """Return the image that `_read` returned last in fewer pixels, if there is one."""
        return None

    def _age(self) -> float:
        """Return how many seconds ago that image was taken, where the camera tells."""
        return 0.0

    @property
    def identity(self) -> str:
        """Which camera it is: for one without a number of its own, its name."""
        return self._identity

    def _recover(self, trouble: str) -> bool:
        """Open a camera again that is in trouble; tell whether it gives frames again."""
        return False

    def _reopen(self, trouble: str) -> bool:
        """Open the camera again, at growing intervals, until it is there or the run ends.

        Another camera in its place is none: it would go on under the lost one's name.
        """
        self.report.say(
            f"{self.name}: {trouble}; it is tried again for {self._stall_seconds:.0f} s"
        )
        identity = self._identity
        self._disturbance = trouble
        while not self._stop.wait(self._wait):
            self._wait = min(2 * self._wait, LAST_WAIT)
            self._disturbance = trouble
            self._close()
            try:
                self._start()
            except CameraError as error:
                trouble = finding_in(error, self.name)
                continue
            if self._identity != identity:
                trouble = f"another camera is in its place: {self._identity}"
                self._identity = identity
                continue
            self.report.reconnections += 1
            self.report.say(f"{self.name}: connected again")
            return True
        return False

    def __enter__(self) -> Self:
        """Start the camera and the reading thread."""
        self._start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading and release the camera, unless its driver hangs."""
        self._stop.set()
        self._thread.join(timeout=self._leave_seconds)
        if not self._thread.is_alive():
            self._close()

    def frames(self) -> Iterator[Frame]:
        """Give the newest frame each time, waiting for one not given before."""
        while (frame := self._take()) is not None:
            yield frame

    def _take(self) -> Frame | None:
        with self._fresh:
            came = self._wait_for_news()
            # A frame that came before the trouble is still worth having.
            if self._newest is not None:
                frame, self._newest = self._newest, None
                return frame
            if self._ended:
                return None
            finding = self._trouble if came else f"no frame for {self._stall_seconds:.0f} s"
            if not came and self._disturbance:
                finding = f"{finding} ({self._disturbance})"
        raise CameraStalledError(self.name, finding or "no frame", self.remedy)

    def _wait_for_news(self) -> bool:
        """Wait for a frame, trouble or the end, and say now and then that it does; False: none."""
        until = time.monotonic() + self._stall_seconds
        while not self._fresh.wait_for(
            lambda: self._newest is not None or self._trouble is not None or self._ended,
            timeout=min(_LOOK_SECONDS, max(0.0, until - time.monotonic())),
        ):
            if time.monotonic() >= until:
                return False
            self.report.waits()
        return True

    def _read_on(self) -> None:
        given = 0
        while not self._stop.is_set():
            try:
                image = self._read()
                trouble = "it stopped giving frames"
            except SourceEndedError:
                with self._fresh:
                    self._ended = True
                    self._fresh.notify_all()
                return
            except (DeviceError, OSError, RuntimeError, ValueError) as error:
                image, trouble = None, f"it failed ({error})"
            if image is None and self._recover(trouble):
                continue
            frame = None if image is None else self._frame(image, given)
            with self._fresh:
                if frame is None:
                    self._trouble = trouble
                else:
                    self.report.overtaken += self._newest is not None
                    self._newest = frame
                    self._disturbance = ""
                    self._wait = FIRST_WAIT
                self._fresh.notify_all()
            if frame is None:
                return
            given += 1

    def _frame(self, image: NDArray[np.uint8], given: int) -> Frame:
        self.report.saw(image.shape[1], image.shape[0])
        age = self._age()
        return Frame(
            image,
            given + self.report.dropped,
            time.time() - age,
            monotonic=time.monotonic() - age,
            settings=self._settings(),
            small=self._small(),
        )
