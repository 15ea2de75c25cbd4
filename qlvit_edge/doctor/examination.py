"""One check after the other, each bounded: one that hangs or crashes takes no other with it.

Checks run in a process of their own, since what they ask may never answer: a network disk that is
gone, a driver, a runtime that was compiled for another processor. It is started again where it was
lost.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qlvit_edge.doctor.finding import Finding, Place
from qlvit_edge.errors import CameraError, ModelFileError, QLViTEdgeError
from qlvit_edge.inference.child import Child, ChildLostError


@dataclass(frozen=True)
class Check:
    """A check by name.

    Attributes:
        name: what is said where it gives no finding.
        function: module of this package, a colon, and the function in it.
        seconds: after which it is given up.
    """

    name: str
    function: str
    seconds: float = 10.0


CHECKS: tuple[Check, ...] = (
    Check("python", "software:check_python"),
    Check("packages", "software:check_packages"),
    Check("text", "software:check_text"),
    Check("processor", "computing:check_processor"),
    Check("runtime", "computing:check_runtime", 30),
    Check("model", "computing:check_model", 60),
    Check("self-test", "computing:check_images", 60),
    Check("camera", "cameras:check_cameras", 40),
    Check("group video", "access:check_video"),
    Check("picamera2", "software:check_picamera2", 30),
    Check("results folder", "storage:check_folder"),
    Check("disk", "storage:check_disk"),
    Check("results file", "storage:check_results", 20),
    Check("temporary files", "device:check_temporary"),
    Check("memory", "device:check_memory"),
    Check("temperature", "device:check_heat"),
    Check("clock", "device:check_clock"),
    Check("live page", "software:check_page"),
    Check("edge tpu", "edgetpu:check_edgetpu"),
    Check("service", "access:check_service"),
    Check("configuration", "access:check_configuration"),
)
"""In the order in which a run needs them."""


def examine(place: Place, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """Make the checks and yield what they find, each as soon as it is known.

    Raises:
        ModelFileError: `place.model` is the name of nothing.
        CameraError: `place.camera` is no source.
    """
    helper = _Helper()
    try:
        helper.require_input(place)
        for check in checks:
            yield from helper.findings(check, place)
    finally:
        helper.close()


class _Helper:
    """The process that checks run in."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def require_input(self, place: Place) -> None:
        """Refuse a model or camera that cannot be meant; what merely does not answer is a finding.

        Raises:
            ModelFileError: no such model.
            CameraError: no such source.
        """
        for name in ("require_model", "require_camera"):
            try:
                self._call(10, f"examination:{name}", place)
            except (ModelFileError, CameraError):
                raise
            except Exception:  # noqa: S112 - the check itself says what is wrong
                continue

    def findings(self, check: Check, place: Place) -> list[Finding]:
        """Make one check; whatever happens in it is a finding."""
        try:
            found = self._call(check.seconds, check.function, place)
        except ChildLostError as error:
            text = f"this check did not end: {error.finding}"
            if "no answer" in error.finding:
                text = f"no answer within {check.seconds:g} s: a disk or device does not respond"
            return [Finding(check.name, "fail", text, "look at it by hand; `dmesg` may say why")]
        except QLViTEdgeError as error:
            text, _, remedy = str(error).partition("; ")
            return [Finding(check.name, "fail", text, remedy or "see docs/troubleshooting.md")]
        except ImportError as error:
            text = f"a package is missing or does not load ({error})"
            remedy = "install the package again with its dependencies"
            return [Finding(check.name, "fail", text, remedy)]
        except OSError as error:
            text = f"no process can be started for it ({error.strerror or error})"
            return [Finding(check.name, "fail", text, "close other programs, or start again")]
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0][:200]
            why = f"this check cannot be made here ({type(error).__name__}: {reason})"
            return [Finding(check.name, "not checked", why)]
        return found

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()

    def _call(self, seconds: float, function: str, place: Place) -> list[Finding]:
        if self._child is None or not self._child.alive:
            self._child = Child()
        return self._child.call(seconds, made, function, place)


def made(function: str, place: Place) -> list[Finding]:
    """Make one check in this process: its module is imported here, and may fail to be."""
    module, _, name = function.partition(":")
    check = getattr(importlib.import_module(f"qlvit_edge.doctor.{module}"), name)
    try:
        return list(check(place))
    except OSError as error:
        why = f"it cannot be looked at ({error})"
        return [Finding(name.removeprefix("check_"), "not checked", why)]


def require_model(place: Place) -> list[Finding]:
    """Refuse a name that means no model file.

    Raises:
        ModelFileError: it means none.
    """
    from qlvit_edge.bundled import resolve_model

    resolve_model(place.model)
    return []


def require_camera(place: Place) -> list[Finding]:
    """Refuse a source of no known form, and files and folders that are not there.

    Raises:
        CameraError: saying which.
    """
    if place.camera is not None:
        from qlvit_edge.camera.sources import open_camera

        open_camera(place.camera)
    return []
