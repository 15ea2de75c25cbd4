"""Whether a frame as a whole is fit to be judged: in focus, light and colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.fields.quality import CUT, image_measures, kind_of, unfit
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.modelfile.guard import Guard

OF_THE_BACKGROUND: Final = frozenset({"light", "clipped", "warmth", "tint"})
"""Measures that a field has in common with the cells in it."""

_SHARE: Final = 0.5


def frame_finding(
    image: NDArray[np.uint8], cells: Sequence[ClassifiedCell], guard: Guard | None
) -> str | None:
    """Say why a frame is not fit to be judged; None where it is, or where no guard could tell.

    It is not where at least half of its cells are abstained from for one reason; without cells,
    where light or colour of its background are not those in which cells are judged. How sharp a
    field without a cell should be is not known: what lies in it is not.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: what was found in it.
        guard: of the model.
    """
    if guard is None:
        return None
    if not cells:
        limits = [measure for measure in guard.measures if measure.name in OF_THE_BACKGROUND]
        return kind_of(unfit(image_measures(image), limits)) or None if limits else None
    kinds = Counter(
        kind_of(found.classification.reason)
        for found in cells
        if found.classification.verdict == "abstained" and found.classification.reason != CUT
    )
    kind, count = kinds.most_common(1)[0] if kinds else ("", 0)
    return kind if count >= _SHARE * len(cells) and count else None
