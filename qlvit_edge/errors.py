"""Every error a user can meet, and the exit code each one means.

::

    QLViTEdgeError            2  wrong use or bad input
    ├── DataError             2  images, folders, splits
    │   ├── ResultsLostError      1  a results file taken away under its run
    │   └── UnfitFrameError       2  a frame that is not what was asked for
    ├── CheckpointError       2  a training run that cannot be read
    ├── CalibrationError      2  a calibration file that does not fit
    ├── ConfigurationError    2  a configuration file that cannot be used
    ├── ConversionError       2  a network that cannot be lowered or a proof that failed
    │   └── AccuracyBudgetError   1  integers cost more accuracy than allowed
    ├── ModelFileError        2  a .tflite that is not what it should be
    ├── GateError             1  a check the user asked for did not pass
    │   └── ModelRolledBackError 1  a model on trial that failed: the one before is active again
    ├── MissingExtraError     2  an optional dependency is not installed
    ├── RestartableError     75  a service that its manager should start again
    └── DeviceError           2  cameras, runtimes, accelerators
        ├── CameraError       2  the camera is not there or cannot be opened
        ├── CameraStalledError 2  the camera stopped giving frames
        ├── InferenceLostError 2  the process that runs the model is lost
        ├── AcceleratorError  2  an Edge TPU that is not there, refuses or answers wrongly
        └── WorkerLostError   2  one of the processes that train together is lost

A message is one line: *what* (a file, a device), what was *found*, and the *remedy*. What a
terminal would obey in it is escaped here, whichever file, library or name it comes from.
"""

from __future__ import annotations

from typing import Any

from qlvit_edge.credentials import masked
from qlvit_edge.text import plain

MOST_OF_SUBJECT, MOST_OF_FINDING, MOST_OF_REMEDY = 600, 800, 600
"""Characters of an error's parts; libraries quote what they read, however long it is."""


class QLViTEdgeError(Exception):
    """Base of all errors that end a command with one line instead of a traceback.

    Attributes:
        exit_code: the process exit code the command line uses for this error.
    """

    exit_code = 2

    def __init__(self, subject: object, finding: str, remedy: str) -> None:
        """Say what is wrong in one line; credentials in addresses are hidden.

        Args:
            subject: the file, folder or device concerned.
            finding: what was found there.
            remedy: what the user can do about it.
        """
        super().__init__(
            f"{_short(plain(str(subject)), MOST_OF_SUBJECT)}: {_short(finding, MOST_OF_FINDING)}; "
            f"{_short(remedy, MOST_OF_REMEDY)}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as a class and a text: its parts are not kept."""
        return restore, (type(self), str(self))


def _short(text: str, most: int) -> str:
    """Return a text in one line without credentials; a long one without its middle."""
    line = plain(masked(" ".join(text.split())))
    return line if len(line) <= most else f"{line[: most // 2]}…{line[-(most // 2) :]}"


def restore(kind: type[QLViTEdgeError], text: str) -> QLViTEdgeError:
    """Return an error of a class with a text as it is."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


class DataError(QLViTEdgeError):
    """Images, folders or splits that cannot be used."""


class ResultsLostError(DataError):
    """A results file that was deleted, moved or replaced while a run was writing to it."""

    exit_code = 1


class UnfitFrameError(DataError):
    """A frame or picture in which what was asked for cannot be looked for."""


class CheckpointError(QLViTEdgeError):
    """A run folder or checkpoint that cannot be read."""


class CalibrationError(QLViTEdgeError):
    """A calibration file that is missing, damaged or belongs to something else."""


class ConfigurationError(QLViTEdgeError):
    """A configuration file that cannot be read, or says what cannot be done."""


class ConversionError(QLViTEdgeError):
    """A network that cannot be lowered, or a converted file that failed its proof."""


class AccuracyBudgetError(ConversionError):
    """The integer model loses more accuracy than the budget allows."""

    exit_code = 1


class ModelFileError(QLViTEdgeError):
    """A model file that is truncated, hostile or not what it claims to be."""


class GateError(QLViTEdgeError):
    """A check that the user asked for (an accuracy gate) did not pass."""

    exit_code = 1


class ModelRolledBackError(GateError):
    """An installed model that failed in its trial; the one before is the active one again."""


class RestartableError(QLViTEdgeError):
    """A service that ended in a way that another start may mend; its text is another error's."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


class MissingExtraError(QLViTEdgeError):
    """A command needs an optional dependency that is not installed."""


class DeviceError(QLViTEdgeError):
    """Cameras, runtimes and accelerators."""


class CameraError(DeviceError):
    """The camera is not there or cannot be opened."""


class CameraStalledError(DeviceError):
    """The camera was opened but stopped giving frames."""


class InferenceLostError(DeviceError):
    """The process that runs the model crashed, took too much or did not answer; see `restart`."""


class AcceleratorError(DeviceError):
    """An accelerator that is not there, refuses, or does not answer as it must."""


class WorkerLostError(DeviceError):
    """One of several processes that train together ended, or does not answer."""
