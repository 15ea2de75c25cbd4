"""Is a `.tflite` file, whoever made it, the network?

It runs on the default kernels (XNNPACK), on the builtin ones without a delegate and, where
they do not abort, on the reference kernels. What is not the network on any of them is refused
with its figures.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from qlvit_edge.converters.routes.closeness import Bound, Closeness, Logits, compare_logits
from qlvit_edge.converters.routes.runners import file_logits
from qlvit_edge.converters.routes.torch_answers import TorchAnswers
from qlvit_edge.errors import ModelFileError, QLViTEdgeError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.child import DEFAULT_TIMEOUT, run_limited
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.reader import read_document

_PROCESSES = 2


@dataclass(frozen=True)
class RouteFile:
    """A file as a converter made it.

    Attributes:
        content: the file; None where it could not be made.
        seconds: of making it, with the share common to the files made together.
        error: why it could not be made, in one line.
    """

    content: bytes | None
    seconds: float
    error: str | None


@dataclass(frozen=True)
class KernelRun:
    """What a file did on one set of kernels.

    Attributes:
        kernels: what really ran, in words; the reason where it did not run.
        partitions: parts that a delegate took.
        logits: (N, classes) real values; None where it did not run.
        closeness: against PyTorch; None where it did not run.
    """

    kernels: str
    partitions: int
    logits: Logits | None
    closeness: Closeness | None


@dataclass(frozen=True)
class Verdict:
    """One file and the verdict on it.

    Attributes:
        made: the file.
        runs: by kernels.
        float_tensors: how many of its tensors are float.
        failure: why it is refused, with the figures; None where it passes.
    """

    made: RouteFile
    runs: dict[Kernels, KernelRun]
    float_tensors: int
    failure: str | None


def judge(
    name: str,
    made: RouteFile,
    bound: Bound,
    max_drop: float,
    answers: TorchAnswers,
    advance: Callable[[], None],
) -> Verdict:
    """Run a file on every set of kernels and hold its answers against PyTorch's.

    Args:
        name: what the file is called in messages.
        made: the file.
        bound: what a correct file keeps.
        max_drop: accuracy that 8 bits may cost, in points.
        answers: images and PyTorch's logits.
        advance: called once per set of kernels.
    """
    runs: dict[Kernels, KernelRun] = {}
    float_tensors, failures = 0, [made.error] if made.error else []
    if made.content is not None:
        try:
            document = read_document(made.content, subject=f"{name} file")
        except ModelFileError as error:
            return Verdict(made, runs, 0, str(error))
        float_tensors = len(audit_integer_only(document).float_tensors)
        content = made.content
        with ThreadPoolExecutor(_PROCESSES) as pool:
            ran = pool.map(lambda kernels: _run(name, content, kernels, answers), Kernels)
            for kernels, one in zip(Kernels, ran, strict=True):
                runs[kernels] = one
                failures += _complaints(kernels, one, bound)
                advance()
        ran_by_default = runs[Kernels.AUTO].logits
        if bound.budgeted and ran_by_default is not None:
            budget = answers.budget(ran_by_default, max_drop)
            failures += [] if budget.passed else [budget.finding]
    return Verdict(made, runs, float_tensors, "; ".join(failures) or None)


def _run(name: str, content: bytes, kernels: Kernels, answers: TorchAnswers) -> KernelRun:
    try:
        memory = Allowance().memory(len(content) + answers.views.nbytes, 1)
        logits, words, partitions = run_limited(
            f"{name} file", memory, DEFAULT_TIMEOUT, file_logits, content, kernels, answers.views
        )
    except QLViTEdgeError as error:
        return KernelRun(str(error), 0, None, None)
    return KernelRun(words, partitions, logits, compare_logits(answers.logits, logits))


def _complaints(kernels: Kernels, ran: KernelRun, bound: Bound) -> list[str]:
    if ran.closeness is None:
        # The reference kernels abort on what others run: that is no fault of the file.
        return [] if kernels is Kernels.REFERENCE else [f"{kernels.value} kernels: {ran.kernels}"]
    if ran.closeness.within(bound):
        return []
    return [f"{kernels.value} kernels: {ran.closeness.words}"]
