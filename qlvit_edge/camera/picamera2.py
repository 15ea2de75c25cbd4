"""The Raspberry Pi's camera through picamera2.

picamera2 needs the system's libcamera bindings, which pip cannot install: a virtual
environment must be made with `--system-site-packages`. It is imported only when opened.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import STALL_SECONDS, LiveCamera
from qlvit_edge.errors import CameraError

# libcamera names formats by their little-endian word: "BGR888" lies in memory as R, G, B.
FORMAT = "BGR888"


class PiCamera(LiveCamera):
    """The first camera that libcamera knows."""

    def __init__(
        self, *, size: tuple[int, int] = (1280, 960), stall_seconds: float = STALL_SECONDS
    ) -> None:
        """Choose the (width, height) of the frames in pixels."""
        super().__init__("picamera2", stall_seconds=stall_seconds)
        self._size = size

    def _start(self) -> None:
        try:
            driver: Any = importlib.import_module("picamera2").Picamera2
        except ImportError as error:
            raise CameraError(
                self.name,
                f"it cannot be imported ({error})",
                "sudo apt install python3-picamera2, and make the virtual environment with "
                "--system-site-packages",
            ) from None
        if not driver.global_camera_info():
            raise CameraError(
                self.name,
                "no camera is connected",
                "check the ribbon cable; `rpicam-hello --list-cameras`",
            )
        camera = None
        try:
            camera = driver()
            # Video keeps the sensor running; still modes would stop it between frames.
            camera.configure(
                camera.create_video_configuration(main={"format": FORMAT, "size": self._size})
            )
            camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            if camera is not None:
                camera.close()
            raise CameraError(
                self.name, f"it does not start ({error})", "close other programs using the camera"
            ) from error
        self._camera = camera

    def _read(self) -> NDArray[np.uint8] | None:
        return np.ascontiguousarray(self._camera.capture_array("main")[..., :3], np.uint8)

    def _close(self) -> None:
        self._camera.stop()
        self._camera.close()
