"""The guard of a fitted run: where the new microscope's cells lie.

Without labels the classes are the network's own answers. They serve to say where its cells lie and
how far from there an answer is no longer trusted; how sure an answer must be is taken from the
guard of the run before, since own answers agree with themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.guard import guard_of, make_guard, too_few
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.modelfile.guard import Guard, powers
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, Checkpoint

OWN_ANSWERS: Final = (
    "the classes of these cells are the network's own answers: accuracy and calibration error say "
    "how far its integers agree with them, not how right they are"
)


def guard_images(cells: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Divide cells, every other one of each class, into those that make clusters and limits."""
    sides: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    met: dict[int, int] = {}
    for cell in cells:
        met[cell.label] = met.get(cell.label, 0) + 1
        sides[met[cell.label] % 2 == 0].append(replace(cell, source=cell.relative))
    return sides


def fitted_guard(
    checkpoint: Checkpoint,
    calibration: Calibration,
    before: Checkpoint,
    cells: Sequence[LabelledImage],
    data: str,
    advance: Callable[[], None],
) -> Guard | str:
    """Fit a guard to cells of the new microscope.

    Args:
        checkpoint: the fitted run.
        calibration: its calibration.
        before: the run that it was fitted from.
        cells: pictures of the new microscope's cells, labelled by the network's answers.
        data: what they are from, in words.
        advance: called once per cell.

    Returns:
        The guard; in words why there is none, where the cells are too few.
    """
    clustered, limiting = guard_images(cells)
    if finding := too_few(limiting):
        return finding
    guard = make_guard(checkpoint, calibration, clustered, limiting, advance, data=data)
    earlier = guard_of(before) if (before.folder / CALIBRATION_FILE).is_file() else None
    temperature = 1.0 if earlier is None else earlier.temperature
    notes = [*guard.evidence.notes, OWN_ANSWERS]
    return guard.model_copy(
        update={
            "temperature": temperature,
            "powers": powers(temperature, guard.logit_scale),
            "probability": guard.probability if earlier is None else earlier.probability,
            "evidence": guard.evidence.model_copy(update={"notes": notes}),
        }
    )
