"""What the page shows of a run, taken while it goes on; nothing here makes the run wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import cv2

from qlvit_edge.microscope.annotate import annotate, draw_scale
from qlvit_edge.microscope.session import Session
from qlvit_edge.page.health import Health, look

PICTURE_WIDTH = 1280
REPLICATES = 200
_SECOND = 1.0


class View:
    """A run as the page sees it; any thread may ask.

    Attributes:
        session: the run.
        notes: the last things that the user should know, newest last.
        say: called with one more.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.notes: deque[str] = deque(maxlen=20)
        self.say: Callable[[str], None] = self.notes.append
        self._encoding = threading.Lock()
        self._picture: tuple[object, bytes] | None = None
        self._asking = threading.Lock()
        self._slow: tuple[float, dict[str, Any], Health] | None = None
        self._speed: deque[tuple[float, int]] = deque(maxlen=12)

    def picture(self) -> tuple[int, float, bytes] | None:
        """Return the newest frame's number, when it was taken (`time.monotonic`), and its JPEG.

        None before the first. A frame is drawn and encoded once, however many ask.
        """
        shown = self.session.newest
        if shown is None:
            return None
        frame, cells = shown
        with self._encoding:
            if self._picture is None or self._picture[0] is not shown:
                drawn = annotate(frame.image, cells, self.session.classifier.labels)
                drawn = draw_scale(drawn, self.session.lengths.um_per_pixel)
                height, width = drawn.shape[:2]
                if width > PICTURE_WIDTH:
                    size = PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))
                    drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
                done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
                self._picture = (shown, jpeg.tobytes() if done else b"")
            return frame.index, frame.monotonic, self._picture[1]

    def pause(self, wanted: bool) -> None:
        """Let the run wait or go on, and say so where the run is watched."""
        pause = self.session.pause
        if pause.wanted == wanted:
            return
        pause.wanted = wanted
        if wanted:
            self.say("paused on the page: nothing is counted until it goes on")
        else:
            self.say(f"counting goes on; frames left out while paused so far: {pause.left_out}")

    def state(self) -> dict[str, Any]:
        """Return everything but the picture, for JSON."""
        session = self.session
        differential, health = self._slowly_changing()
        shown, finding = session.newest, session.finding
        slide = None if session.slide is None else session.slide.count()
        return {
            "model": session.classifier.metadata.name,
            "simulated": session.settings.source.startswith("simulated:"),
            "paused": session.pause.wanted,
            "outcome": session.outcome,
            "frames": session.frames,
            "frame": None if shown is None else shown[0].index,
            "age": None if shown is None else time.monotonic() - shown[0].monotonic,
            "live": session.is_live,
            "counts": dict(session.counts) if slide is None else slide.labels,
            "verdicts": dict(session.verdicts) if slide is None else slide.verdicts,
            "unique": None if slide is None else slide.unique,
            "doubtful": None if slide is None else slide.doubtful,
            "stop_at": session.settings.stop_at,
            "differential": differential,
            "familiar": None if finding is None else finding.familiar,
            "statement": None if finding is None else finding.sentence,
            "warning": None if finding is None else finding.warning,
            "guarded": finding is not None,
            "unfit": {**dict(session.abstained), **dict(session.unfit_frames)},
            "notes": list(self.notes),
            "device": {
                **health,
                "frames_per_second": self._frames_per_second(),
                "dropped": session.report.dropped,
                "reconnections": session.report.reconnections,
                "kernels": session.classifier.kernels_used,
            },
        }

    def _slowly_changing(self) -> tuple[dict[str, Any], Health]:
        """Differential and health, worked out once a second at most."""
        with self._asking:
            now = time.monotonic()
            if self._slow is None or now - self._slow[0] >= _SECOND:
                session = self.session
                familiar = None if session.finding is None else session.finding.familiar
                found = session.count.differential(familiar, replicates=REPLICATES)
                self._slow = (now, found.as_dict(), look(session.settings.out))
                self._speed.append((now, session.frames))
            return self._slow[1], self._slow[2]

    def _frames_per_second(self) -> float | None:
        """Frames stored a second in the last seconds; None before there are two looks."""
        with self._asking:
            if len(self._speed) < 2:
                return None
            (began, before), (now, after) = self._speed[0], self._speed[-1]
            return (after - before) / (now - began)
