"""What computes a run's answers: the CPU, or an accelerator with the CPU beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.coral import sticks
from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.accelerator import CPU, EDGE_TPU, Accelerator, Backend
from qlvit_edge.inference.classifier import Classification, Classifier
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.watchdog import Watchdog
from qlvit_edge.microscope.settings import Settings

T = TypeVar("T")

NOTHING_PROVED = "arithmetic of a delegate, for which nothing is proved"


class Computing:
    """A loaded model that goes on for as long as runs do.

    Attributes:
        classifier: the model on the CPU.
        accelerator: the same model on an Edge TPU; None where none is asked for.
        frames: frames stored in this run by what computed them, with an accelerator; the run
            counts them.
    """

    def __init__(self, settings: Settings) -> None:
        """Load the model, on both where an accelerator is asked for.

        Raises:
            ModelFileError: the model file cannot be used.
            DeviceError: the runtime or the delegate's library is missing, or the model holds
                nothing that is compiled for it. A device that is not there is no error: the CPU
                begins.
        """
        self._settings = settings
        self.classifier = self._opened(None)
        self.accelerator: Accelerator | None = None
        if settings.delegate is not None:
            self.accelerator = Accelerator(self._on_delegate, self.classifier)
        self.frames = Counter[str]()
        self._watchdog: Watchdog | None = None

    @property
    def restarts(self) -> int:
        """Times the model's process on the CPU was started again in this run."""
        return 0 if self._watchdog is None else self._watchdog.restarts

    @property
    def losses(self) -> int:
        """Times the accelerator was lost in this run."""
        return 0 if self.accelerator is None else self.accelerator.losses

    @property
    def kernels_used(self) -> str:
        """What runs the model, in words, on both sides."""
        here = self.classifier.kernels_used
        if self.accelerator is None:
            return here
        there = self.accelerator.kernels_used or f"nothing on the {EDGE_TPU} yet"
        return f"{there}; without it {here}"

    @property
    def arithmetic(self) -> str:
        """What that computes, and whether it is proved, in words."""
        here, frames = str(self.classifier.arithmetic), self.frames
        if not frames[EDGE_TPU]:
            return here
        if not frames[CPU]:
            return NOTHING_PROVED
        return f"{NOTHING_PROVED} ({frames[EDGE_TPU]} frames); {here} ({frames[CPU]} frames)"

    def begin(
        self,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
        rests: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin a run.

        Args:
            say: is told what a user should know.
            stopped: whether the run is to end.
            rests: called again and again while the next start of a process waits.

        Raises:
            DeviceError: the runtime fails on images of the model's own file.
        """
        self._watchdog = Watchdog(self.classifier, say=say, stopped=stopped, rests=rests)
        self.frames.clear()
        delegate, there = self._settings.delegate, len(sticks())
        if self.accelerator is None or delegate is None:
            return
        if there > 1 and "device" not in dict(delegate.options):
            say(
                f"{there} Edge TPUs are connected, and the library takes one of them: "
                "--delegate-option device=usb:0 says which (`qlvit-edge doctor` lists them)"
            )
        self.accelerator.begin(say)

    def infer(self, pixels: NDArray[np.uint8]) -> Classification:
        """Classify an image that the classifier's `prepare` made, within `answered`.

        Raises:
            UnansweredError: the runtime failed on it twice, or the run is to end.
        """
        on_cpu = self.classifier.infer if self._watchdog is None else self._watchdog.infer
        return (
            on_cpu(pixels) if self.accelerator is None else self.accelerator.infer(pixels, on_cpu)
        )

    def answered(self, answer: Callable[[], T]) -> tuple[T, Backend | None]:
        """Return a frame's answers, and what computed them; see `Accelerator.frame`."""
        return (answer(), None) if self.accelerator is None else self.accelerator.frame(answer)

    def close(self) -> None:
        """End the accelerator's process: a stick belongs to one process at a time."""
        if self.accelerator is not None:
            self.accelerator.close()

    def _opened(self, delegate: Delegate | None) -> Classifier:
        settings = self._settings
        return Classifier(
            settings.model,
            kernels=settings.kernels,
            runtime=settings.runtime,
            threads=settings.threads,
            accept_at=settings.accept_at,
            delegate=delegate,
            allowance=settings.allowance,
        )

    def _on_delegate(self) -> Classifier:
        found = self._opened(self._settings.delegate)
        if found.sha256 != self.classifier.sha256:
            found.close()
            finding = "it is not the file any more with which the run began"
            raise ModelFileError(self._settings.model, finding, "start again")
        return found
