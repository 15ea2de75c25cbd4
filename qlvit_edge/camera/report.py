"""What a camera has to tell besides its frames: what it lost, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable

MOST_NOTICES = 20
"""Different notices passed on in one run; a source in trouble must not fill the screen."""


def _nobody(_: str) -> None:
    """Nobody listens."""


class CameraReport:
    """Counts and notices of one camera; its reading thread writes, others read.

    Attributes:
        dropped: frames that came damaged and were left out.
        damaged: name → finding, of the images of a folder that were left out.
        findings: what was wrong with dropped frames → how often.
        overtaken: frames of a live camera that nobody took before the next one came.
        reconnections: times the connection was lost and came back.
        size: (width, height) in pixels of the newest frame; None before the first.
        listener: called with each notice, from the camera's reading thread too.
        waits: called again and again while the camera, which does not hang, has no frame to give.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.damaged: dict[str, str] = {}
        self.findings: dict[str, int] = {}
        self.overtaken = 0
        self.reconnections = 0
        self.size: tuple[int, int] | None = None
        self.listener: Callable[[str], None] = _nobody
        self.waits: Callable[[], None] = lambda: None
        self._said: set[str] = set()

    def drop(self, finding: str, name: str = "") -> None:
        """Count a damaged frame; ``name`` is its file's, where it has one of its own."""
        self.dropped += 1
        if name:
            self.damaged[name] = finding
            return
        first = finding not in self.findings
        if first and len(self.findings) >= MOST_NOTICES:
            finding, first = "other damage", False
        self.findings[finding] = self.findings.get(finding, 0) + 1
        if first:
            self.say(f"damaged frames are left out: {finding}")

    def saw(self, width: int, height: int) -> None:
        """Note a frame's size in pixels, and say when it is another one."""
        before, self.size = self.size, (width, height)
        if before is not None and before != self.size:
            self.say(f"frames are now {width}x{height} pixels; they were {before[0]}x{before[1]}")

    def say(self, text: str) -> None:
        """Pass a notice on, each text once."""
        if text not in self._said and len(self._said) < MOST_NOTICES:
            self._said.add(text)
            self.listener(text)
