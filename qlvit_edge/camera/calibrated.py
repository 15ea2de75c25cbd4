"""A camera with its calibration: even light, and no frame of another camera or size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from qlvit_edge.camera.base import Camera, Frame
from qlvit_edge.camera.calibration import Loaded
from qlvit_edge.camera.report import CameraReport
from qlvit_edge.errors import CalibrationError


class CalibratedCamera:
    """Gives another camera's frames with its flat field applied.

    Attributes:
        name: the other camera's.
        report: the same.
    """

    def __init__(self, camera: Camera, calibration: Loaded) -> None:
        """Note both; nothing is opened."""
        self.name: str = camera.name
        self.report: CameraReport = camera.report
        self._camera = camera
        self._path = calibration.path
        self._calibration = calibration.content
        light = self._calibration.light
        self._flat = None if light is None else light.flat_field()
        self._frames: Iterator[Frame] = iter(())
        self._first: Frame | None = None

    @property
    def identity(self) -> str:
        """Which camera it is."""
        return self._camera.identity

    def __enter__(self) -> Self:
        """Start the camera and look at its first frame.

        Raises:
            CalibrationError: it is another camera, or its frames have another size.
            CameraStalledError: no frame came.
        """
        self._camera.__enter__()
        try:
            identity = self._camera.identity
            self._calibration.require_fit(self._path, identity)
            self._frames = self._camera.frames()
            self._first = next(self._frames, None)
            if self._first is not None:
                self._require_size(self._first)
            if not identity or not self._calibration.camera:
                self.report.say(
                    f"{self._path}: whether these pictures are of the camera that was calibrated "
                    "cannot be checked, only their size"
                )
        except BaseException as error:
            self._camera.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the camera."""
        self._camera.__exit__(kind, error, trace)

    def frames(self) -> Iterator[Frame]:
        """Give corrected frames; a stored picture of another size is left out and reported.

        Raises:
            CalibrationError: a live camera's frames have changed their size.
            CameraStalledError: see the camera.
        """
        first, self._first = self._first, None
        if first is not None:
            yield self._corrected(first)
        for frame in self._frames:
            finding = self._finding(frame)
            if finding and frame.source:
                self.report.drop(finding, frame.source)
                continue
            self._require_size(frame)
            yield self._corrected(frame)

    def _finding(self, frame: Frame) -> str:
        height, width = frame.image.shape[:2]
        return self._calibration.size_finding(width, height)

    def _require_size(self, frame: Frame) -> None:
        finding = self._finding(frame)
        if finding:
            remedy = "let the camera give that size, or calibrate this one"
            raise CalibrationError(self._path, finding, remedy)

    def _corrected(self, frame: Frame) -> Frame:
        if self._flat is None:
            return frame
        small = None if frame.small is None else self._flat.apply(frame.small)
        return replace(frame, image=self._flat.apply(frame.image), small=small)
