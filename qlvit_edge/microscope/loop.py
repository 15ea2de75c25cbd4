"""Frame after frame of a run: looked at in one thread, answered and placed in another.

While one frame's cells are classified, the next one is looked at already. What is classified is
stored: nothing is left out after that. A frame that nobody would have time for is left out before
it costs any, by the camera that gives newer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlvit_edge.camera.base import Frame
from qlvit_edge.fields.census import Census
from qlvit_edge.inference.accelerator import Backend
from qlvit_edge.inference.watchdog import UnansweredError
from qlvit_edge.microscope.pipeline import ClassifiedCell, Pipeline, Sight
from qlvit_edge.microscope.placing import placed
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.microscope.stopping import Stopped, StopRequest
from qlvit_edge.microscope.worker import Worker
from qlvit_edge.microscope.writer import Writer
from qlvit_edge.slide.placement import Placement

if TYPE_CHECKING:
    from qlvit_edge.microscope.session import Session


@dataclass(frozen=True)
class Answered:
    """A frame as it is handed on to be stored.

    Attributes:
        frame: the frame.
        cells: its cells; none of a frame that is lost.
        placement: where it lies on the slide; None where that is not asked for, and of a lost one.
        census: what else was counted in it; None where that is not asked for.
        lost: whether the runtime failed on it.
        backend: what computed it, in runs with an accelerator.
    """

    frame: Frame
    cells: tuple[ClassifiedCell, ...]
    placement: Placement | None
    census: Census | None
    lost: bool
    backend: Backend | None = None


@dataclass(frozen=True)
class Loop:
    """What a run does with its frames.

    Attributes:
        session: the run; what it shows and counts is kept there.
        pipeline: finds and classifies.
        writer: stores.
        stop: the user's wish to stop.
        after_frame: called after every frame, in the thread that answers.
        note: called with what a user should know.
    """

    session: Session
    pipeline: Pipeline
    writer: Writer[Answered, FrameRecord]
    stop: StopRequest
    after_frame: Callable[[], None]
    note: Callable[[str], None]

    def run(self, frames: Iterator[Frame]) -> None:
        """Go on until the source ends, enough was seen or a stop was asked for.

        Raises:
            Exception: what the source, the search or storing raises; what came before is
                answered and handed on.
        """
        session, taken = self.session, 0
        with Worker(self._answer, failed=self.stop.wake) as worker:
            while taken != session.settings.frames and worker.has_room(self._is_over):
                frame = self._next(frames)
                if frame is None:
                    return
                if session.is_live and not self.writer.has_room:
                    session.held_up += 1
                    session.newest = (frame, ())
                    continue
                taken += 1
                session.life.took()
                worker.give(self.pipeline.look(frame))

    def _next(self, frames: Iterator[Frame]) -> Frame | None:
        """Wait for a frame; None where there is none, or none is wanted."""
        if self._is_over():
            return None
        try:
            with self.session.times.measure("capture"), self.stop.interruptible():
                return next(frames, None)
        except Stopped:
            return None

    def _is_over(self) -> bool:
        return self.stop.wanted or self.session.count.is_full

    def _answer(self, sight: Sight) -> None:
        """Classify what was found in a frame and hand it on; in the worker's thread."""
        session, frame = self.session, sight.frame
        if session.count.is_full:  # it was looked at ahead of the frame that was the last one
            return
        found: tuple[ClassifiedCell, ...] = ()
        lost, backend = False, None
        try:
            found, backend = session.computing.answered(lambda: self.pipeline.answer(sight))
        except UnansweredError:
            lost = True
        session.lengths.check(frame, self.note)
        session.newest = (frame, found)
        seen = self.pipeline.count(sight, found)
        with session.times.measure("place"):
            # A lost frame shows cells that were not found in it: it says nothing of the slide.
            placement = None if lost else placed(session.slide, frame, found)
            session.count.see(found)
        with session.times.measure("store"):
            self.writer.put(Answered(frame, found, placement, seen, lost, backend))
        self.after_frame()
        if session.count.is_full:
            self.stop.wake()  # who waits for the next frame need not
