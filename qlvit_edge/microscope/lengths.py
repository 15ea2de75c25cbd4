"""Lengths in a run: in micrometres where a scale is known, and said to be pixels where not.

A scale holds for one objective, and no camera knows which one is in place. Red cells do: where
those of the first frames measure otherwise than red cells can, it is said.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.calibration import Loaded
from qlvit_edge.errors import CalibrationError
from qlvit_edge.fields.finder import measured_scale
from qlvit_edge.fields.scale import RED_CELL_UM, WHITE_PER_RED
from qlvit_edge.microscope.records import FrameRecord

CHECKED_FRAMES = 20
"""Frames at the beginning of a run whose red cells are measured, to test the scale."""

ENOUGH_FRAMES = 4
"""Frames with red cells from which the test says anything."""

POSSIBLE_UM = (5.0, 11.0)
"""Diameters that red cells of a smear have at most, with the error of measuring them in a few
frames: 6 to 9 µm, and a fifth. The next objective is off by 1.5 or more."""


class Lengths:
    """What is known of lengths in a run, and the cells' sizes so far.

    Attributes:
        um_per_pixel: the scale; None where none is known.
        cell_size: diameter of a usual white cell as a share of the frame's short side; None:
            to be taken from each frame.
        warning: that the scale does not fit the red cells; None where it does, or nothing is
            known.
    """

    def __init__(self, calibration: Loaded | None, cell_size: float | None) -> None:
        """Note what is known.

        Raises:
            CalibrationError: both a calibration and a size of cells are given.
        """
        self._scale = None if calibration is None else calibration.content.scale
        self.um_per_pixel = None if self._scale is None else self._scale.um_per_pixel
        self.cell_size = cell_size
        self.warning: str | None = None
        self._path = None if calibration is None else calibration.path
        self._sizes: Counter[int] = Counter()
        self._red_cells: list[float] = []
        self._left = 0
        if calibration is None or self._scale is None:
            return
        if cell_size is not None:
            raise CalibrationError(
                calibration.path, "it tells the size of cells", "leave --cell-size out"
            )
        short = min(calibration.content.width, calibration.content.height)
        self.cell_size = min(1.0, RED_CELL_UM * WHITE_PER_RED / self._scale.um_per_pixel / short)
        self._left = CHECKED_FRAMES

    @property
    def unit(self) -> str:
        """Return ``"µm"``, or ``"px"`` where no scale is known."""
        return "px" if self._scale is None else "µm"

    def words(self) -> str:
        """Return the scale with its provenance, or that lengths are in pixels."""
        if self._scale is not None:
            doubt = "" if self.warning is None else f"; but {self.warning}"
            return f"in µm; {self._scale.words()}; from {self._path}{doubt}"
        if self._path is not None:
            return f"in pixels: {self._path} holds no scale"
        return "in pixels: no scale is known (--calibration)"

    def check(self, frame: Frame, note: Callable[[str], None]) -> None:
        """Measure the red cells of one of the first frames; say, once, that they cannot be."""
        if self._left <= 0 or self.um_per_pixel is None or self.warning is not None:
            return
        self._left -= 1
        scale = measured_scale(frame.image)
        if scale is not None and scale.source == "red cells":
            self._red_cells.append(scale.red_cell * self.um_per_pixel)
        if len(self._red_cells) < ENOUGH_FRAMES:
            return
        usual = statistics.median(self._red_cells)
        if not POSSIBLE_UM[0] <= usual <= POSSIBLE_UM[1]:
            self.warning = (
                f"by {self._path} red cells measure {usual:.1f} µm across, where 6 to 9 µm are "
                "possible: it is of another objective, or the smear is not of blood"
            )
            note(self.warning)

    def add(self, record: FrameRecord) -> None:
        """Count the sizes of a frame's cells that no edge cuts."""
        columns = (record.column(name) for name in ("width", "height", "cut"))
        for width, height, cut in zip(*columns, strict=True):
            if not cut:
                self._sizes[int(str(width)) + int(str(height))] += 1

    def median(self) -> float | None:
        """Return the median of the cells' mean sides, in `unit`; None of none."""
        left = (self._sizes.total() + 1) // 2
        for both, count in sorted(self._sizes.items()):
            left -= count
            if left <= 0:
                return both / 2 * (self.um_per_pixel or 1.0)
        return None
