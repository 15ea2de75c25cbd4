"""What `validate` reports, typed; `as_dict` is report.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from qlvit_edge.evaluation.quality import Quality
from qlvit_edge.inference.golden import GoldenReport


@dataclass(frozen=True)
class ModelFacts:
    """The file that was measured; None is what it does not say.

    Attributes:
        file: its path.
        sha256: of its bytes.
        bytes: its size.
        integer_only: whether every tensor is an integer.
        verdict: on that, in words.
        name: of the model.
        unknown_cells: kinds of cells that it was never shown.
        intended_use: in words.
        training_data: name of the folder.
        split_fingerprint: of the split it was trained on.
    """

    file: str
    sha256: str
    bytes: int
    integer_only: bool
    verdict: str
    name: str | None
    unknown_cells: list[str] | None
    intended_use: str | None
    training_data: str | None
    split_fingerprint: str | None


@dataclass(frozen=True)
class DataFacts:
    """The images that it was measured on.

    Attributes:
        folder: where they are.
        images: how many.
        classes: how many of each class.
        input: what was classified of each, in words.
        without_cell: images in which no cell was found.
        unusual: kinds of images that are not plain 8-bit RGB, with their numbers.
    """

    folder: str
    images: int
    classes: dict[str, int]
    input: str
    without_cell: int
    unusual: dict[str, int]


@dataclass(frozen=True)
class Memory:
    """Largest resident size of the process, in bytes.

    Attributes:
        peak: until the end.
        before_model: until the model was loaded.
    """

    peak: int
    before_model: int


@dataclass(frozen=True)
class KernelFacts:
    """What the model ran on.

    Attributes:
        asked: the kernels that were asked for.
        runtime: that executed it.
        used: the kernels that ran, in words.
        xnnpack_missing: XNNPACK was asked for and took nothing.
        arithmetic: what they compute, and whether that is proved on this runtime, in words.
        proved: whether it is.
    """

    asked: str
    runtime: str
    used: str
    xnnpack_missing: bool
    arithmetic: str
    proved: bool


@dataclass(frozen=True)
class Host:
    """The device.

    Attributes:
        processor: its architecture.
        system: its operating system.
        python: version.
    """

    processor: str
    system: str
    python: str


@dataclass(frozen=True)
class Measurement:
    """What `validation.validate` measured.

    Attributes:
        model: the file.
        data: the images.
        quality: how right the answers are.
        golden: how the golden pairs came out.
        latency_ms: mean and percentiles of an inference; None where there was none.
        memory_bytes: of the process.
        kernels: what ran.
        machine: the device.
    """

    model: ModelFacts
    data: DataFacts
    quality: Quality
    golden: GoldenReport
    latency_ms: dict[str, float] | None
    memory_bytes: Memory
    kernels: KernelFacts
    machine: Host


@dataclass(frozen=True)
class Gate:
    """The accuracy that was asked for.

    Attributes:
        least: it, 0 to 1.
        passed: whether it was reached.
    """

    least: float
    passed: bool


@dataclass(frozen=True)
class Mistake:
    """A wrong answer.

    Attributes:
        image: relative name.
        true: its class.
        predicted: the answer; None where no cell was found.
        probability: of the answer.
    """

    image: str
    true: str
    predicted: str | None
    probability: float


@dataclass(frozen=True)
class ValidationReport:
    """A measurement, with what has to be said about it.

    Attributes:
        found: the measurement.
        split_of_training: whether the images are of the split that the model was trained
            with; None where that is not known.
        notes: sentences.
        gate: the accuracy that was asked for; None where none was.
        mistakes: the most confident first.
    """

    found: Measurement
    split_of_training: bool | None = None
    notes: tuple[str, ...] = ()
    gate: Gate | None = None
    mistakes: tuple[Mistake, ...] = field(default=())

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        found = self.found
        data = {**asdict(found.data), "split_of_training": self.split_of_training}
        return {
            **asdict(found.quality),
            "model": asdict(found.model),
            "data": data,
            "golden": found.golden.as_dict(),
            "latency_ms": found.latency_ms,
            "memory_bytes": asdict(found.memory_bytes),
            "kernels": asdict(found.kernels),
            "machine": asdict(found.machine),
            "notes": list(self.notes),
            "gate": None if self.gate is None else asdict(self.gate),
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }
