"""What a camera is to the rest of the program, and how live ones are kept from stalling it.

A camera is opened once, gives frames until it ends or is closed, and says with
`CameraStalledError` when frames stop coming.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import CameraStalledError, DeviceError

STALL_SECONDS = 20.0
"""A live camera without a new frame for this long has stalled."""


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        index: number of the frame since the camera was opened, from 0; a live camera
            leaves out numbers of frames that nobody took in time.
        timestamp: when it was taken, seconds since 1970 (UTC).
        source: the file it came from, relative to the camera's folder; empty for others.
    """

    image: NDArray[np.uint8]
    index: int
    timestamp: float
    source: str = ""


class Camera(Protocol):
    """Anything that gives frames.

    Attributes:
        name: the source as the user wrote it, for messages and results.
    """

    name: str

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
            DataError: a picture of the source is damaged.
        """


class LiveCamera(ABC):
    """Base of cameras that go on whether or not anybody looks.

    A thread of its own reads, so that a driver that never returns cannot hang the program,
    and only the newest frame is kept: results are about now, not about a queue.
    """

    def __init__(self, name: str, *, stall_seconds: float = STALL_SECONDS) -> None:
        self.name = name
        self._stall_seconds = stall_seconds
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name=f"camera {name}", daemon=True)

    @abstractmethod
    def _start(self) -> None:
        """Open the camera; raises CameraError where it is not there."""

    @abstractmethod
    def _read(self) -> NDArray[np.uint8] | None:
        """Wait for the next (H, W, 3) uint8 RGB image; None when there will be no more."""

    @abstractmethod
    def _close(self) -> None:
        """Release the camera."""

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
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._close()

    def frames(self) -> Iterator[Frame]:
        """Give the newest frame each time, waiting for one not given before."""
        while True:
            yield self._take()

    def _take(self) -> Frame:
        with self._fresh:
            came = self._fresh.wait_for(
                lambda: self._newest is not None or self._trouble is not None,
                timeout=self._stall_seconds,
            )
            # A frame that came before the trouble is still worth having.
            if self._newest is not None:
                frame, self._newest = self._newest, None
                return frame
            finding = self._trouble if came else f"no frame for {self._stall_seconds:.0f} s"
        raise CameraStalledError(
            self.name, finding or "no frame", "check the cable and start again; results are kept"
        )

    def _read_on(self) -> None:
        index = 0
        while not self._stop.is_set():
            try:
                image = self._read()
                trouble = None if image is not None else "it stopped giving frames"
            except (DeviceError, OSError, RuntimeError, ValueError) as error:
                image, trouble = None, f"it failed ({error})"
            with self._fresh:
                if image is None:
                    self._trouble = trouble
                else:
                    self._newest = Frame(image, index, time.time())
                self._fresh.notify_all()
            if image is None:
                return
            index += 1
