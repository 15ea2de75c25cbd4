"""Which layers cost most where integers cost too much accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.calibration.sensitivity import Views, measure
from qlvit_edge.data.choose import evenly
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

IMAGES = 32


@dataclass(frozen=True)
class LayerBlame:
    """One layer alone in integers in the float network.

    Attributes:
        layer: its name.
        share: its part of the noise in the logits, summed over the layers; 0 to 1.
        relative_rms: error of the logits, relative to the float ones.
    """

    layer: str
    share: float
    relative_rms: float


@dataclass(frozen=True)
class Blame:
    """Every layer's part in what was lost.

    Attributes:
        layers: the one that costs most first.
        images: how many images that was measured on.
        observer: whose ranges the calibration uses.
        calibration_images: how many images it was made with.
    """

    layers: tuple[LayerBlame, ...]
    images: int
    observer: str
    calibration_images: int


def measure_blame(checkpoint: Checkpoint, softmax: Form, views: Views, progress: Progress) -> Blame:
    """Measure the layers one at a time, alone in integers.

    Args:
        checkpoint: the network whose conversion failed; its calibration is there.
        softmax: form of the integer softmax.
        views: (N, h, w, channels) uint8 images of the proof; 32 of them are measured.
        progress: makes a progress bar from a description and a total.

    Raises:
        CalibrationError: there is no calibration of this checkpoint.
    """
    calibration = calibration_of(checkpoint)
    some = views[evenly(len(views), IMAGES)]
    found = measure(checkpoint, calibration, softmax, some, None, progress, both=False)
    return Blame(
        layers=tuple(
            LayerBlame(cost.layer, cost.share, cost.alone.relative_rms) for cost in found.worst()
        ),
        images=len(some),
        observer=calibration.observer,
        calibration_images=len(calibration.images),
    )
