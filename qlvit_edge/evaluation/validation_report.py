"""What `validate` reports, typed; `as_dict` is report.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from qlvit_edge.evaluation.agreement import Agreement
from qlvit_edge.evaluation.guarding import Guarding
from qlvit_edge.evaluation.metrics import ReliabilityBin
from qlvit_edge.evaluation.predictions import FILE, Predictions
from qlvit_edge.evaluation.quality import Acceptance, Quality
from qlvit_edge.evaluation.verdict import Check, Gates, Verdict
from qlvit_edge.guard.statement import Finding
from qlvit_edge.inference.golden import GoldenReport
from qlvit_edge.measuring.conditions import Conditions
from qlvit_edge.measuring.machine import Machine

FORMAT = 2
"""Of report.json: since 2 it has `checks`, and a verdict on the use of the model."""


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
        images: how many of the model's classes were measured.
        classes: how many of each class.
        input: what was classified of each and judged, in words.
        without_cell: images in which no cell was found.
        unusual: kinds of images that are not plain 8-bit RGB, with their numbers.
        damaged: images that were left out because they cannot be read, with the reason.
        unknown: images of classes that the model does not know, by class folder.
        split_fingerprint: of the split whose test side they are; None without a split.
        split_of_training: whether the model was trained with that split; None where that is
            not known.
        whole_test_side: whether all of a split's test side was measured.
        training_images: how many of them the model was trained on, by content; None where its
            training images are not known.
        suspected_copies: what suggests that images are copies of one another, though no sources
            were given; None where nothing does.
    """

    folder: str
    images: int
    classes: dict[str, int]
    input: str
    without_cell: int
    unusual: dict[str, int]
    damaged: dict[str, str]
    unknown: dict[str, int]
    split_fingerprint: str | None
    split_of_training: bool | None
    whole_test_side: bool
    training_images: int | None
    suspected_copies: str | None = None


@dataclass(frozen=True)
class ViewFacts:
    """How right the answers are when the images are shown in one way.

    Attributes:
        name: `whole_image` or `cell_crop`.
        input: what was shown of each, in words.
        images: of the model's classes.
        without_cell: of these, images in which no cell was found: counted as wrong.
        quality: of the answers.
        acceptance: what the threshold lets through.
        reliability: share of right answers by probability.
        calibration_error: mean distance of the two, 0 to 1; None without answers.
        guarding: what comes of the verdicts.
    """

    name: str
    input: str
    images: int
    without_cell: int
    quality: Quality
    acceptance: Acceptance
    reliability: tuple[ReliabilityBin, ...]
    calibration_error: float | None
    guarding: Guarding


@dataclass(frozen=True)
class Memory:
    """Largest resident size of the process that runs the model and nothing else, in bytes.

    None where the system hides it.

    Attributes:
        peak: until the end.
        before_model: until the model was loaded.
    """

    peak: int | None
    before_model: int | None


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
        delegate: the library that ran compiled segments, with its options; None without.
    """

    asked: str
    runtime: str
    used: str
    xnnpack_missing: bool
    arithmetic: str
    proved: bool
    delegate: str | None = None


@dataclass(frozen=True)
class Measurement:
    """What `validation.validate` measured.

    Attributes:
        model: the file.
        data: the images.
        views: what was shown of the images and how right the answers were; the first is judged.
        golden: how the golden pairs came out on the kernels that ran.
        golden_reference: the same on the reference kernels, where other ones ran.
        no_reference: why that was not examined; None where it was, or where there is no need.
        latency_ms: mean and percentiles of an inference; None where there was none.
        memory_bytes: of the process that ran the model.
        kernels: what ran.
        machine: the device.
        conditions: in what state it was.
        statement: whether all that was shown is what the model was made for; None of a file
            without a guard.
    """

    model: ModelFacts
    data: DataFacts
    views: tuple[ViewFacts, ...]
    golden: GoldenReport
    latency_ms: dict[str, float] | None
    memory_bytes: Memory
    kernels: KernelFacts
    machine: Machine
    conditions: Conditions
    golden_reference: GoldenReport | None = None
    no_reference: str | None = None
    statement: Finding | None = None

    @property
    def quality(self) -> Quality:
        """That of the view that is judged."""
        return self.views[0].quality


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
        verdict: whether the model may be used on this device.
        checks: all that decides on that.
        predictions: the answers, image by image.
        gates: what was asked for.
        agreement: with another machine's answers; None where it was not compared.
        notes: sentences.
        mistakes: of the view that is judged, the most confident first.
        date: when it was measured, ISO 8601 with the zone.
        command: the command line.
    """

    found: Measurement
    verdict: Verdict
    checks: tuple[Check, ...]
    predictions: Predictions
    gates: Gates
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = field(default=())
    date: str = ""
    command: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON; the judged view's figures stand at the top."""
        found = self.found
        judged = found.views[0]
        return {
            "format": FORMAT,
            "verdict": asdict(self.verdict),
            "checks": [asdict(check) for check in self.checks],
            "device": self.predictions.device,
            "date": self.date,
            "command": self.command,
            **asdict(judged.quality),
            "acceptance": asdict(judged.acceptance),
            "guarding": asdict(judged.guarding),
            "statement": None if found.statement is None else asdict(found.statement),
            "model": asdict(found.model),
            "data": asdict(found.data),
            "views": {view.name: asdict(view) for view in found.views},
            "golden": found.golden.as_dict(),
            "golden_reference": _golden(found.golden_reference),
            "agreement": None if self.agreement is None else asdict(self.agreement),
            "predictions": {
                "file": FILE,
                "arithmetic": self.predictions.arithmetic,
                "data_sha256": self.predictions.data_sha256,
                "outputs_sha256": self.predictions.outputs_sha256,
            },
            "conditions": {**asdict(found.conditions), "busy": found.conditions.busy},
            "latency_ms": found.latency_ms,
            "memory_bytes": asdict(found.memory_bytes),
            "kernels": asdict(found.kernels),
            "machine": asdict(found.machine),
            "notes": list(self.notes),
            "gate": None if self.gates.accuracy is None else asdict(self.gates.accuracy),
            "latency_gate": None if self.gates.latency is None else asdict(self.gates.latency),
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }


def _golden(found: GoldenReport | None) -> dict[str, object] | None:
    return None if found is None else found.as_dict()
