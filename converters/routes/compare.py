"""The routes side by side: what each file answers, takes and costs.

Accuracy and agreement are on the same images for all; latencies are taken in turns in one
process, on one thread; peak memory in a process of its own each.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.idioms.scales import CalibratedScales
from qlvit_edge.converters.proof_images import ProofImages
from qlvit_edge.converters.routes.closeness import Closeness, Logits, compare_logits
from qlvit_edge.converters.routes.contenders import Contender, contenders
from qlvit_edge.converters.routes.ort import onnx_logits
from qlvit_edge.converters.routes.runners import Kind, peak_above_bare, runner
from qlvit_edge.converters.routes.torch_answers import TorchAnswers, torch_answers
from qlvit_edge.converters.routes.verdict import judge
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.measuring.machine import Machine, describe_machine
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

REPEATS = 3
WARM_UP = 3
_PROCESSES = 2


@dataclass(frozen=True)
class Row:
    """One line of the table; None is what does not apply or could not be measured.

    Attributes:
        name: of the contender.
        route: that made it.
        failure: why it is not the network, or why there is no file; None where it passes.
        accuracy: share of images with the true class, on the default kernels.
        agreement: share of images with PyTorch's class, on the default kernels.
        agreement_builtin: the same on the builtin kernels, without a delegate.
        closeness: logits against PyTorch's, on the default kernels.
        bytes: size of the file.
        float_tensors: float tensors in a `.tflite` file.
        partitions: parts that the delegate took.
        kernels: what ran, in words.
        convert_seconds: of making the file, without judging it.
        latency_ms: median of one inference.
        peak_bytes: memory of loading and running it above its runtime's.
    """

    name: str
    route: str
    failure: str | None = None
    accuracy: float | None = None
    agreement: float | None = None
    agreement_builtin: float | None = None
    closeness: Closeness | None = None
    bytes: int | None = None
    float_tensors: int | None = None
    partitions: int | None = None
    kernels: str | None = None
    convert_seconds: float | None = None
    latency_ms: float | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True)
class RouteComparison:
    """Every file of every route, side by side; `asdict` of it is JSON.

    Attributes:
        machine: where latency and memory were measured.
        images: how many images the answers are on.
        origin: which they are, in words.
        reduced: whether that is less than the whole test side.
        max_drop: accuracy that 8 bits may cost, in points.
        rounds: of the latency measurement.
        rows: one per file, PyTorch first.
    """

    machine: Machine
    images: int
    origin: str
    reduced: bool
    max_drop: float
    rounds: int
    rows: tuple[Row, ...]


def compare_routes(
    checkpoint: Checkpoint,
    calibration: Callable[[], CalibratedScales],
    routes: Sequence[str],
    proof: ProofImages,
    count: int,
    rounds: int,
    *,
    max_drop: float,
    python: Path | None,
    data: Path | None,
    log: Path,
    progress: Progress,
) -> RouteComparison:
    """Convert a network by every route, judge the files and measure them.

    Args:
        checkpoint: the trained network.
        calibration: loads its calibration; if that fails, so do the files that need it.
        routes: names out of `contenders.ROUTES`.
        proof: the images to judge by.
        count: most of them.
        rounds: of the latency measurement; each runs every row `REPEATS` times.
        max_drop: accuracy that 8 bits may cost, in points.
        python: of the environment with onnx2tf; None: see `find_python`.
        data: where the calibration images are; None: where the run's data was.
        log: where onnx2tf's log is kept if it fails.
        progress: makes a progress bar from a description and a total.

    Raises:
        DataError: an image does not decode.
    """
    answers = torch_answers(checkpoint, proof, count, progress)
    found = contenders(checkpoint, calibration, routes, python, data, log, progress)
    rows = compare(found, checkpoint.folder, answers, rounds, max_drop, progress)
    return RouteComparison(
        machine=describe_machine(),
        images=len(answers.views),
        origin=answers.sample.words,
        reduced=not answers.sample.whole,
        max_drop=max_drop,
        rounds=rounds,
        rows=tuple(rows),
    )


def compare(
    files: Sequence[Contender],
    folder: Path,
    answers: TorchAnswers,
    rounds: int,
    max_drop: float,
    progress: Progress,
) -> list[Row]:
    """Judge and measure every contender.

    Args:
        files: from `contenders`.
        folder: the run folder, which PyTorch's row is run from.
        answers: images and PyTorch's logits.
        rounds: of the latency measurement; each runs every row `REPEATS` times.
        max_drop: accuracy that 8 bits may cost, in points.
        progress: makes a progress bar from a description and a total.
    """
    with tempfile.TemporaryDirectory() as name, progress("judging", len(files)) as advance:
        rows, paths = [], []
        for number, contender in enumerate(files):
            path = folder
            if contender.made is not None:
                path = Path(name) / f"{number}.{contender.kind}"
                path.write_bytes(contender.made.content or b"")
            row = _row(contender, answers, max_drop)
            runs = contender.made is None or row.kernels is not None
            paths.append((contender.kind, path) if runs else None)
            rows.append(row)
            advance()
        runnable = {n: where for n, where in enumerate(paths) if where is not None}
        with ThreadPoolExecutor(_PROCESSES) as pool:
            found = pool.map(lambda where: _peak(where, answers.views[0]), runnable.values())
            peaks = dict(zip(runnable, found, strict=True))
        times = _in_turns(runnable, answers.views, rounds, progress)
    return [
        Row(**{**vars(row), "latency_ms": times.get(n), "peak_bytes": peaks.get(n)})
        for n, row in enumerate(rows)
    ]


def _row(contender: Contender, answers: TorchAnswers, max_drop: float) -> Row:
    made = contender.made
    if made is None:
        own = _accuracy(answers, answers.logits)
        return Row(contender.name, contender.route, accuracy=own, agreement=1.0)
    seconds = round(made.seconds, 2)
    if made.content is None:
        return Row(contender.name, contender.route, made.error, convert_seconds=seconds)
    if contender.kind == "onnx":
        return _onnx_row(contender, made.content, seconds, answers, max_drop)
    verdict = judge(contender.name, made, contender.bound, max_drop, answers, lambda: None)
    default, builtin = verdict.runs.get(Kernels.AUTO), verdict.runs.get(Kernels.BUILTIN)
    logits = None if default is None else default.logits
    return Row(
        contender.name,
        contender.route,
        verdict.failure,
        accuracy=None if logits is None else _accuracy(answers, logits),
        agreement=default.closeness.agreement if default and default.closeness else None,
        agreement_builtin=builtin.closeness.agreement if builtin and builtin.closeness else None,
        closeness=None if default is None else default.closeness,
        bytes=len(made.content),
        float_tensors=verdict.float_tensors,
        partitions=None if logits is None or default is None else default.partitions,
        kernels=None if logits is None or default is None else default.kernels,
        convert_seconds=seconds,
    )


def _onnx_row(
    contender: Contender, content: bytes, seconds: float, answers: TorchAnswers, max_drop: float
) -> Row:
    try:
        logits = onnx_logits(content, answers.views)
    except Exception as error:  # ONNX Runtime raises classes of its own, all bare Exceptions
        failure = f"ONNX Runtime: {' '.join(str(error).split())[:200]}"
        return Row(contender.name, contender.route, failure, bytes=len(content))
    closeness = compare_logits(answers.logits, logits)
    failures = [] if closeness.within(contender.bound) else [closeness.words]
    if contender.bound.budgeted:
        budget = answers.budget(logits, max_drop)
        failures += [] if budget.passed else [budget.finding]
    return Row(
        contender.name,
        contender.route,
        "; ".join(failures) or None,
        accuracy=_accuracy(answers, logits),
        agreement=closeness.agreement,
        closeness=closeness,
        bytes=len(content),
        kernels="ONNX Runtime, CPU",
        convert_seconds=seconds,
    )


def _accuracy(answers: TorchAnswers, logits: Logits) -> float:
    return float((logits.argmax(1) == answers.labels).mean())


def _peak(where: tuple[Kind, Path], view: NDArray[np.uint8]) -> int | None:
    kind, path = where
    try:
        return run_in_child(path, peak_above_bare, kind, path, view)
    except QLViTEdgeError:  # it ran while it was judged: memory alone stays unknown
        return None


def _in_turns(
    runnable: dict[int, tuple[Kind, Path]],
    views: NDArray[np.uint8],
    rounds: int,
    progress: Progress,
) -> dict[int, float]:
    """Return the median milliseconds of every row; each round has an order of its own.

    Shuffled, not rotated: with fixed neighbours the row after the slowest would pay for it.
    """
    run = {n: runner(kind, path) for n, (kind, path) in runnable.items()}
    times: dict[int, list[float]] = {n: [] for n in run}
    rng = np.random.default_rng(0)
    with progress("taking turns", rounds + WARM_UP) as advance:
        for index in range(-WARM_UP, rounds):
            view = views[index % len(views)]
            for n in rng.permutation(list(run)).tolist():
                run[n](view)  # brings it back into the caches
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    run[n](view)
                    if index >= 0:
                        times[n].append(1e3 * (time.perf_counter() - began))
            advance()
    return {n: float(np.median(values)) for n, values in times.items()}
