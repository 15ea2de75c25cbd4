"""What the page shows of a run, taken while it goes on; nothing here makes the run wait."""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qlvit_edge.microscope.losses import IN_WORDS
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.summary import census_figures
from qlvit_edge.page.growth import Growth
from qlvit_edge.page.health import Health, look
from qlvit_edge.page.minimap import map_of
from qlvit_edge.page.orders import Orders
from qlvit_edge.page.picture import cells_of, jpeg_of
from qlvit_edge.palette import colour

REPLICATES = 200
_SECOND = 1.0


@dataclass(frozen=True)
class Picture:
    """A frame as it is shown.

    Attributes:
        name: of this picture; no other has it, in this run or another.
        index: of the frame in its run.
        taken: when the frame was taken (`time.monotonic`).
        cells: of the frame, as JSON.
        jpeg: the frame with its cells marked.
    """

    name: str
    index: int
    taken: float
    cells: str
    jpeg: bytes


class View:
    """A run as the page sees it, and the runs after it; any thread may ask.

    Attributes:
        session: the run that goes on, or went on last.
        orders: what may be asked for.
        growth: its counts over time.
        over: whether it has ended.
        failure: why it failed; None where it did not.
        closing: whether the program is about to end.
        asked: when a browser asked for the state last (`time.monotonic`).
        notes: the last things that the user should know, newest last.
        say: called with one more.
    """

    def __init__(self, session: Session, orders: Orders | None = None) -> None:
        self.orders = Orders() if orders is None else orders
        self.notes: deque[str] = deque(maxlen=20)
        self.say: Callable[[str], None] = self.notes.append
        self.closing = False
        self.asked = -math.inf
        self._encoding = threading.Lock()
        self._asking = threading.Lock()
        self._name, self._pictures = secrets.token_hex(4), 0
        self.begin(session)

    def begin(self, session: Session) -> None:
        """Show another run from now on."""
        with self._asking, self._encoding:
            self.session, self._run = session, self.orders.run
            count = session.count
            self.growth = Growth(count.tally.counted, lambda: count.counted().accepted)
            self.over = False
            self.failure: str | None = None
            self.notes.clear()
            self._shown: object = None
            self._picture: Picture | None = None
            self._slow: tuple[float, dict[str, Any], Health] | None = None
            self._map: tuple[float, dict[str, object]] | None = None
            self._speed: deque[tuple[float, int]] = deque(maxlen=12)

    def end(self, failure: str | None) -> None:
        """Take note that the run has ended.

        Args:
            failure: why it failed; None where it did not.
        """
        self.growth.look(last=True)
        with self._asking:
            self._slow = self._map = None
            self.failure, self.over, self._run = failure, True, self.orders.run

    def picture(self) -> Picture | None:
        """Return the newest frame; None before the first.

        A frame is drawn and encoded once, however many ask.
        """
        with self._encoding:
            session = self.session
            shown = session.newest
            if shown is None:
                return None
            if self._picture is None or self._shown is not shown:
                frame, cells = shown
                labels, scale = session.classifier.labels, session.lengths.um_per_pixel
                self._pictures += 1
                self._picture = Picture(
                    f"{self._name}-{self._pictures}",
                    frame.index,
                    frame.monotonic,
                    json.dumps(cells_of(cells)),
                    jpeg_of(frame.image, cells, labels, scale),
                )
                self._shown = shown
            return self._picture

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

    def slide(self) -> dict[str, object] | None:
        """Return the slide's map for JSON; None where cells are not counted once."""
        with self._asking:
            tracker = self.session.slide
            if tracker is None:
                return None
            now = time.monotonic()
            if self._map is None or now - self._map[0] >= _SECOND:
                self._map = now, map_of(tracker)
            return self._map[1]

    def state(self) -> dict[str, Any]:
        """Return everything but pictures and curves, for JSON."""
        self.asked = time.monotonic()
        session, differential, health, speed = self._slowly_changing()
        shown, finding = session.newest, session.finding
        slide = None if session.slide is None else session.slide.count()
        labels = session.classifier.labels
        return {
            "run": self._run,
            "over": self.over,
            "failure": self.failure,
            "closing": self.closing,
            "stays": self.orders.stays,
            "sample": session.settings.sample,
            "operator": session.settings.operator,
            "model": session.classifier.metadata.name,
            "simulated": session.settings.source.startswith("simulated:"),
            "paused": session.pause.wanted,
            "outcome": session.outcome,
            "frames": session.frames,
            "frame": None if shown is None else shown[0].index,
            "age": None if shown is None else time.monotonic() - shown[0].monotonic,
            "live": session.is_live,
            "once": slide is not None,
            "counts": dict(session.counts) if slide is None else slide.labels,
            "colours": {label: colour(number) for number, label in enumerate(labels)},
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
            "census": census_figures(dict(session.census)),
            "pictures_stopped": session.pictures_stopped,
            "losses": [
                {"place": place, "what": IN_WORDS[place], "frames": frames}
                for place, frames in session.losses().items()
            ],
            "restarts": session.restarts,
            "notes": list(self.notes),
            "device": {
                **health,
                "frames_per_second": speed,
                "dropped": session.report.dropped,
                "reconnections": session.report.reconnections,
                "kernels": session.computing.kernels_used,
                "accelerator": _accelerator(session),
            },
        }

    def _slowly_changing(self) -> tuple[Session, dict[str, Any], Health, float | None]:
        """The run; differential, health and speed, worked out once a second at most."""
        with self._asking:
            session, now = self.session, time.monotonic()
            if self._slow is None or now - self._slow[0] >= _SECOND:
                familiar = None if session.finding is None else session.finding.familiar
                found = session.count.differential(familiar, replicates=REPLICATES)
                self._slow = (now, found.as_dict(), look(session.settings.out))
                self._speed.append((now, session.frames))
            return session, self._slow[1], self._slow[2], self._frames_per_second()

    def _frames_per_second(self) -> float | None:
        """Frames stored a second in the last seconds; None before there are two looks."""
        if len(self._speed) < 2:
            return None
        (began, before), (now, after) = self._speed[0], self._speed[-1]
        return (after - before) / max(now - began, 1e-9)


def _accelerator(session: Session) -> dict[str, object] | None:
    """What computes now, and why that is not the accelerator; None in runs without one."""
    accelerator = session.computing.accelerator
    if accelerator is None:
        return None
    return {
        "computes": accelerator.name,
        "finding": accelerator.finding,
        "losses": accelerator.losses,
        "frames": dict(session.computing.frames),
    }
