"""Is a model right on this very device? Golden pairs, the bundled crops, and its time.

Where the arithmetic of the kernels is proved, the answers to the bundled crops are those that the
model gave where it was signed, to the byte; of other kernels nothing is claimed, and nine in ten
of the crops have to be called the same.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.bundled import CROPS
from qlvit_edge.delivery.manifest import Manifest, SelfTest
from qlvit_edge.errors import GateError, ModelFileError
from qlvit_edge.inference.arithmetic import ArithmeticName
from qlvit_edge.inference.classifier import Classifier
from qlvit_edge.inference.golden import GoldenReport
from qlvit_edge.inference.interpreter import Kernels, Runtime

LEAST_SAME = 0.9
"""Share of the crops that kernels of which nothing is claimed must call the same."""

OVER_BUDGET = 0.1
"""Share of the inferences that may take longer than the budget."""


@dataclass(frozen=True)
class Engine:
    """What executes the model.

    Attributes:
        runtime: the TFLite runtime.
        kernels: implementation of the operators.
        threads: of the interpreter.
        delegate: library of the Edge TPU; None for the processor.
    """

    runtime: Runtime = "litert"
    kernels: Kernels = Kernels.AUTO
    threads: int = 1
    delegate: str | None = None

    def open(self, path: Path) -> Classifier:
        """Load a model in a process of its own.

        Raises:
            ModelFileError: it cannot be used.
            DeviceError: the runtime or the delegate is not there.
        """
        return Classifier(
            path,
            runtime=self.runtime,
            kernels=self.kernels,
            threads=self.threads,
            delegate=self.delegate,
        )


@dataclass(frozen=True)
class Answers:
    """What a model answers to the bundled crops.

    Attributes:
        images: SHA-256 of the crops.
        labels: number of the class, by crop in the order of their paths.
        digest: SHA-256 of all logits and features.
        milliseconds: of each inference, with the way to the model's process and back.
    """

    images: str
    labels: tuple[int, ...]
    digest: str
    milliseconds: tuple[float, ...]


@dataclass(frozen=True)
class Examined:
    """What an examination found.

    Attributes:
        kernels: what ran, in words.
        golden: of the golden pairs, in a sentence.
        self_test: of the bundled crops, in a sentence.
        slow_ms: milliseconds that one inference in ten exceeded.
    """

    kernels: str
    golden: str
    self_test: str
    slow_ms: float


def answers_of(classifier: Classifier) -> Answers:
    """Ask a model about the bundled crops.

    Raises:
        DeviceError: the runtime failed.
    """
    images, values = hashlib.sha256(), hashlib.sha256()
    labels, milliseconds = [], []
    for path in sorted(CROPS.glob("*/*.png")):
        images.update(path.read_bytes())
        pixels = classifier.prepare(path)
        started = time.perf_counter()
        answer = classifier.infer(pixels)
        milliseconds.append(1000 * (time.perf_counter() - started))
        labels.append(classifier.labels.index(answer.label))
        for value in (answer.logits, answer.features):
            values.update(b"" if value is None else value.tobytes())
    return Answers(images.hexdigest(), tuple(labels), values.hexdigest(), tuple(milliseconds))


def recorded_self_test(path: Path) -> SelfTest:
    """Return what a model answers here, to be held against on devices.

    Raises:
        ModelFileError: it cannot be used, or does not give its golden pairs here.
        DeviceError: the runtime is not there, or failed.
    """
    digests: dict[ArithmeticName, str] = {}
    given: list[Answers] = []
    for kernels in (Kernels.AUTO, Kernels.REFERENCE):
        with Engine(kernels=kernels).open(path) as classifier:
            report = classifier.golden_pairs()
            if report.failure is not None:
                remedy = "do not sign it: convert it again, and see `qlvit-edge doctor`"
                raise ModelFileError(path, report.failure, remedy)
            answers = answers_of(classifier)
            given.append(answers)
            # Only files that were tried in the forms of both processors are equal on both.
            one = kernels is Kernels.REFERENCE or classifier.metadata.tried_forms is not None
            if one and report.must_be_equal and report.arithmetic is not None:
                digests[report.arithmetic] = answers.digest
    return SelfTest(images=given[0].images, labels=list(given[0].labels), answers=digests)


def examine(path: Path, manifest: Manifest, engine: Engine) -> Examined:
    """Run a model here, and refuse it unless it is right and fast enough.

    Args:
        path: of the model's file.
        manifest: of its bundle.
        engine: what it is to run on.

    Raises:
        GateError: it is wrong here, or too slow.
        ModelFileError: it cannot be used.
        DeviceError: the runtime or the delegate is not there, or failed.
    """
    with engine.open(path) as classifier:
        require_signed(classifier, manifest)
        report = classifier.golden_pairs()
        if report.failure is not None:
            raise refused(manifest, report.failure)
        answers = answers_of(classifier)
        said = compared(manifest, answers, report)
        kernels = classifier.kernels_used
    slow = _slow(answers.milliseconds)
    if manifest.budget_ms is not None and slow > manifest.budget_ms:
        finding = f"one inference in ten takes {slow:.1f} ms, its budget is {manifest.budget_ms:g}"
        raise refused(manifest, finding)
    return Examined(kernels, report.sentence, said, slow)


def require_signed(classifier: Classifier, manifest: Manifest) -> None:
    """Refuse a file that was replaced between its verification and its loading.

    Raises:
        GateError: it was.
    """
    if classifier.sha256 != manifest.sha256:
        raise refused(manifest, "its file was changed while it was loaded")


def refused(manifest: Manifest, finding: str) -> GateError:
    """Return the error that a model did not pass."""
    remedy = "keep the model that runs, and see `qlvit-edge doctor`"
    return GateError(manifest.title, f"is not right on this device: {finding}", remedy)


def compared(manifest: Manifest, answers: Answers, report: GoldenReport) -> str:
    """Hold answers to the bundled crops against those of the manifest; returns a sentence.

    Args:
        manifest: with what is to be answered.
        answers: what was.
        report: of the golden pairs, which says whether answers must be equal.

    Raises:
        GateError: they are others.
    """
    test, crops = manifest.self_test, len(answers.labels)
    if answers.images != test.images or crops != len(test.labels):
        return f"{crops} bundled crops answered; not compared: signed with other crops."
    recorded = None if report.arithmetic is None else test.answers.get(report.arithmetic)
    if report.must_be_equal and recorded is not None:
        if answers.digest != recorded:
            same = _same(answers, test)
            finding = f"bundled crops get other answers than where it was signed ({same} of {crops}"
            raise refused(manifest, f"{finding} the same class)")
        return f"{crops} bundled crops get the answers of where it was signed, to the byte."
    same = _same(answers, test)
    if same < LEAST_SAME * crops:
        finding = f"{same} of {crops} bundled crops get the class of where it was signed"
        raise refused(manifest, finding)
    return f"{same} of {crops} bundled crops get the class of where it was signed."


def _same(answers: Answers, test: SelfTest) -> int:
    return sum(a == b for a, b in zip(answers.labels, test.labels, strict=True))


def _slow(milliseconds: tuple[float, ...]) -> float:
    """What at most one inference in ten exceeded."""
    ordered = sorted(milliseconds, reverse=True)
    return ordered[int(OVER_BUDGET * len(ordered))]
