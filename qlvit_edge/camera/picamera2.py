"""The Raspberry Pi's camera through picamera2.

picamera2 needs the system's libcamera bindings, which pip cannot install: a virtual
environment must be made with `--system-site-packages`. It is imported only when opened.

A frame is taken as a *request*: picamera2 lends its buffers until it is released, and has few
of them. Each is copied from and released at once, whatever happens in between.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.camera.base import STALL_SECONDS, LiveCamera
from qlvit_edge.camera.settings import UNKNOWN_SETTINGS, CameraSettings, Wanted
from qlvit_edge.errors import CameraError

# libcamera names formats by their little-endian word: "BGR888" lies in memory as R, G, B.
FORMAT = "BGR888"

SMALL_FORMAT = "YUV420"
"""Of the low-resolution stream: the only one that every Raspberry Pi gives."""

USUAL_SIZE = (1280, 960)

_OLDEST_SECONDS = 10.0
"""A sensor's time that lies further back is on a clock that we do not know."""


class PiCamera(LiveCamera):
    """A camera that libcamera knows, by its number."""

    def __init__(
        self,
        number: int = 0,
        *,
        wanted: Wanted | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """Choose the camera and what is asked of it."""
        super().__init__(
            "picamera2" if number == 0 else f"picamera2:{number}", stall_seconds=stall_seconds
        )
        self._number = number
        self._wanted = wanted or Wanted()
        self._camera: Any = None
        self._metadata: dict[str, Any] = {}
        self._shrunk: NDArray[np.uint8] | None = None

    def _start(self) -> None:
        driver, infos = cameras_of_libcamera(self.name)
        if self._number >= len(infos):
            raise CameraError(
                self.name,
                f"there is no camera {self._number}, only {len(infos)}"
                if infos
                else "no camera is connected",
                "check the ribbon cable; `rpicam-hello --list-cameras`",
            )
        self._identity = identity_of(infos[self._number])
        camera = None
        try:
            camera = driver(self._number)
            controls = self._controls(camera)
            streams: dict[str, Any] = {
                "main": {"format": FORMAT, "size": self._wanted.size or USUAL_SIZE}
            }
            if self._wanted.small is not None:
                streams["lores"] = {"format": SMALL_FORMAT, "size": self._wanted.small}
            # Video keeps the sensor running; still modes would stop it between frames.
            camera.configure(camera.create_video_configuration(**streams, controls=controls))
            camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            if camera is not None:
                camera.close()
            raise CameraError(
                self.name, f"it does not start ({error})", "close other programs using the camera"
            ) from error
        except CameraError:
            if camera is not None:
                camera.close()
            raise
        self._camera = camera

    def adjust(self, wanted: Wanted) -> None:
        """Lock exposure, gain and white balance while the camera runs; sizes stay.

        Frames that were under way still come with the old settings, and say so.

        Raises:
            CameraError: the camera has no such control, or the value is out of its range.
        """
        self._wanted = Wanted(
            self._wanted.size,
            self._wanted.small,
            wanted.exposure_us,
            wanted.gain,
            wanted.colour_gains,
        )
        self._camera.set_controls(self._controls(self._camera))

    def _controls(self, camera: Any) -> dict[str, Any]:
        """Return what is asked for as libcamera's controls.

        Raises:
            CameraError: the camera has no such control, or the value is out of its range.
        """
        wanted = self._wanted
        controls: dict[str, Any] = {}
        if wanted.exposure_us is not None or wanted.gain is not None:
            controls["AeEnable"] = False
        if wanted.exposure_us is not None:
            controls["ExposureTime"] = round(wanted.exposure_us)
        if wanted.gain is not None:
            controls["AnalogueGain"] = wanted.gain
        if wanted.colour_gains is not None:
            controls["AwbEnable"] = False
            controls["ColourGains"] = wanted.colour_gains
        known = camera.camera_controls
        for name, value in controls.items():
            if name not in known:
                raise CameraError(
                    self.name, f"it has no control {name}", "leave exposure and gains to it"
                )
            low, high, *_ = known[name]
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(low <= one <= high for one in numbers):
                raise CameraError(
                    self.name,
                    f"{name} {', '.join(f'{one:g}' for one in numbers)} is out of its range",
                    f"choose from {low:g} to {high:g}",
                )
        return controls

    def _read(self) -> NDArray[np.uint8] | None:
        request = self._camera.capture_request()
        try:
            image = np.array(request.make_array("main")[..., :3], np.uint8, order="C")
            if self._wanted.small is not None:
                self._shrunk = _rgb(request.make_array("lores"), self._wanted.small)
            self._metadata = request.get_metadata()
        finally:
            request.release()
        return image

    def _small(self) -> NDArray[np.uint8] | None:
        return self._shrunk

    def _settings(self) -> CameraSettings:
        return settings_in(self._metadata, self._wanted)

    def _age(self) -> float:
        taken = self._metadata.get("SensorTimestamp")
        if taken is None:
            return 0.0
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - taken / 1e9
        return age if 0 <= age <= _OLDEST_SECONDS else 0.0

    def _recover(self, trouble: str) -> bool:
        return self._reopen(trouble)

    def _close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.stop()
            camera.close()


def cameras_of_libcamera(name: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return picamera2's class, and what libcamera says of the cameras that it knows.

    Args:
        name: of the camera, for messages.

    Raises:
        CameraError: picamera2 cannot be imported.
    """
    try:
        driver: Any = importlib.import_module("picamera2").Picamera2
    except ImportError as error:
        raise CameraError(
            name,
            f"it cannot be imported ({error})",
            "sudo apt install python3-picamera2, and make the virtual environment with "
            "--system-site-packages",
        ) from None
    return driver, list(driver.global_camera_info())


def identity_of(info: dict[str, Any]) -> str:
    """Return the model and the place of a camera that libcamera knows."""
    return " ".join(str(info[key]) for key in ("Model", "Id") if info.get(key))


def settings_in(metadata: dict[str, Any], wanted: Wanted) -> CameraSettings:
    """Return what a request's metadata say of the camera's settings."""
    if not metadata:
        return UNKNOWN_SETTINGS
    gains = metadata.get("ColourGains")
    known = {
        "exposure_us": metadata.get("ExposureTime"),
        "gain": metadata.get("AnalogueGain"),
        "red_gain": None if gains is None else gains[0],
        "blue_gain": None if gains is None else gains[1],
        "colour_temperature": metadata.get("ColourTemperature"),
    }
    if all(value is None for value in known.values()):
        return UNKNOWN_SETTINGS
    locked = None not in (wanted.exposure_us, wanted.gain, wanted.colour_gains)
    numbers = {name: None if value is None else float(value) for name, value in known.items()}
    return CameraSettings(**numbers, automatic=not locked)


def _rgb(planes: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return YUV420 planes as RGB, without the bytes that fill its lines up."""
    whole = cv2.cvtColor(np.ascontiguousarray(planes), cv2.COLOR_YUV2RGB_I420)
    return np.ascontiguousarray(whole[: size[1], : size[0]], np.uint8)
