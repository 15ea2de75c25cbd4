"""What int16 layers gain in the logits and cost in time, measured against the int8 file."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.calibration.int16_choice import Int16Choice
from qlvit_edge.calibration.sensitivity import Cost, cost_of
from qlvit_edge.converters.graph import Graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.worker import Case, Worker
from qlvit_edge.measuring.benchmark import take_turns
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

ROUNDS = 11
REPEATS = 3


@dataclass(frozen=True)
class Int16Layer:
    """One layer with activations in int16.

    Attributes:
        layer: its name.
        share: its part of the noise in the logits, 0 to 1, before.
        int16: names of the activations.
    """

    layer: str
    share: float
    int16: tuple[str, ...]


@dataclass(frozen=True)
class FileCost:
    """One of the two files: its logits against the float network's, and its time.

    Attributes:
        sqnr_db: power of the float logits over that of the difference; None if there is none.
        relative_rms: root of the inverse ratio.
        agreement: share of images with the same class.
        p50_ms: median of one inference, one thread.
    """

    sqnr_db: float | None
    relative_rms: float
    agreement: float
    p50_ms: float

    @classmethod
    def of(cls, cost: Cost, p50_ms: float) -> FileCost:
        """Add the time to the logits' error."""
        return cls(cost.sqnr_db, cost.relative_rms, cost.agreement, p50_ms)


@dataclass(frozen=True)
class Int16Report:
    """What is reported of the int16 layers; `asdict` of it is JSON.

    Attributes:
        images: how many images the logits' errors are from.
        layers: the int16 layers, worst first.
        skipped: layers that cost as much or more, none of whose activations can be int16.
        int8: the file without int16 layers.
        int16: the file with them.
        time_ratio: how many times as long the second takes, in turns.
    """

    images: int
    layers: tuple[Int16Layer, ...]
    skipped: tuple[str, ...]
    int8: FileCost
    int16: FileCost
    time_ratio: float


def report_int16(
    checkpoint: Checkpoint, choice: Int16Choice, graph: Graph, model: bytes, progress: Progress
) -> Int16Report:
    """Time the file with int16 layers against the plain int8 one, on the default kernels.

    Args:
        checkpoint: the trained network.
        choice: the layers.
        graph: of the converted file, proved equal to it.
        model: the converted file.
        progress: makes a progress bar from a description and a total.

    Raises:
        ModelFileError: the runtime crashes on a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        int8, int16 = Path(folder) / "int8.tflite", Path(folder) / "int16.tflite"
        int8.write_bytes(write_tflite(choice.plain))
        int16.write_bytes(model)
        with (
            Worker(Case("int8", int8)) as first,
            Worker(Case("int16", int16)) as second,
            progress("timing against int8", ROUNDS + 1) as advance,
        ):
            times, ratios = take_turns([first, second], ROUNDS, 1, advance, REPEATS)
    activations = choice.int16.activations
    return Int16Report(
        images=len(choice.views),
        layers=tuple(
            Int16Layer(cost.layer, cost.share, activations[cost.layer]) for cost in choice.chosen
        ),
        skipped=choice.skipped,
        int8=FileCost.of(choice.before, statistics.median(times[0])),
        int16=FileCost.of(cost_of(checkpoint, graph, choice.views), statistics.median(times[1])),
        time_ratio=statistics.median(ratios[1]),
    )
