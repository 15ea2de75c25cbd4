"""What a training session tells those who show it: a display, a log, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlvit_edge.training.loop import Progress
    from qlvit_edge.training.state import Row


class Listener:
    """Hears of a session's progress; this one shows nothing."""

    def preparing(self, images: int) -> AbstractContextManager[Callable[[], None]]:
        """Images are decoded now; entered, the result gives what is called after each."""
        return nullcontext(lambda: None)

    def noted(self, text: str) -> None:
        """Something about the images is worth saying."""

    def begun(self, epochs: int, images: int) -> None:
        """Training begins: epochs in all, and training images in each."""

    def batch_done(self, now: Progress) -> None:
        """A batch was trained."""

    def epoch_done(self, row: Row, best: int) -> None:
        """An epoch is on the disk; ``best`` is the number of the best one so far."""
