"""The differential of a run as it grows, and when it has enough cells."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Iterable

from qlvit_edge.differential.analyser import analyser_of
from qlvit_edge.differential.correction import REPLICATES
from qlvit_edge.differential.differential import Differential, Mistakes, differential_of
from qlvit_edge.differential.tally import Tally
from qlvit_edge.differential.unique_cells import UniqueCells
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.slide.tracker import SlideTracker


class RunCount:
    """Cells of a run, inside and beside its differential.

    Attributes:
        stop_at: cells of the differential that are enough; None for no limit.
        seen: cells of the differential that were seen, stored or not yet.
        tally: all cells that are stored, of every frame; where each is counted once, see `counted`.
    """

    def __init__(
        self, classifier: Classifier, stop_at: int | None = None, analyser: str | None = None
    ) -> None:
        """Begin a count.

        Args:
            classifier: of the cells.
            stop_at: cells of the differential that are enough; None for no limit.
            analyser: an analyser's differential to compare with, see `analyser_of`.

        Raises:
            DataError: the analyser's differential is not one in the model's classes.
        """
        self.stop_at = stop_at
        self.seen = 0
        self._adding = threading.Lock()
        self.tally = Tally(classifier.labels)
        self._slide: SlideTracker | None = None
        self._unique = UniqueCells()
        self._analyser = None if analyser is None else analyser_of(analyser, self.tally.counted)
        self._confusion, self._accept_at = classifier.metadata.confusion, classifier.accept_at

    @property
    def is_full(self) -> bool:
        """Whether as many cells were seen as are enough."""
        return self.stop_at is not None and self.seen >= self.stop_at

    def once_by(self, slide: SlideTracker | None) -> None:
        """Count each cell of the slide once from now on; None: in every frame."""
        self._slide = slide

    def see(self, cells: Iterable[ClassifiedCell]) -> None:
        """Take note of a frame's cells, before they are stored, once the slide knows them."""
        if self._slide is not None:
            if self.stop_at is not None:
                accepted = self._slide.accepted()
                self.seen = sum(accepted[label] for label in self.tally.counted)
            return
        for found in cells:
            answer = found.classification
            self.seen += self.tally.counts(answer.label, answer.verdict, cut=found.cell.cut)

    def add(self, records: Iterable[FrameRecord], doubtful: Collection[int] = ()) -> None:
        """Count the cells of frames that are stored.

        Args:
            records: the frames.
            doubtful: numbers of all unique cells that are doubtful by now.
        """
        with self._adding:
            for record in records:
                if self._slide is None:
                    self.tally.add_all(record.answers())
                    continue
                for number, view in record.views():
                    self._unique.note(number, view)
                for gone, stays in () if record.placement is None else record.placement.merged:
                    self._unique.merge(gone, stays)
            self._unique.doubt(doubtful)

    def counted(self) -> Tally:
        """Return the cells that are stored, each once where that is wanted."""
        with self._adding:  # cells that come meanwhile would be in some figures and not in others
            if self._slide is not None:
                return self._unique.tally(self.tally.labels)
            return copy.deepcopy(self.tally)

    def differential(self, familiar: bool | None, replicates: int = REPLICATES) -> Differential:
        """Return the differential of the cells stored so far.

        Args:
            familiar: whether the cells are what the model was made for; None: not known.
            replicates: draws for the corrected interval; fewer are quicker and rougher.
        """
        mistakes = Mistakes.of(self._confusion, self._accept_at, familiar=familiar)
        return differential_of(self.counted(), mistakes, self._analyser, replicates=replicates)
