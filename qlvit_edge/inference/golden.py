"""Golden pairs of a model file against what this device computes.

A pair holds an input and the outputs of both proved arithmetics: logits, from format 3 on the
features that they are made of, and what the file's guard makes of both. The kernels that run must
give those of their own arithmetic, all of them: nearly equal is unequal. About kernels without a
proved arithmetic (builtin ones, XNNPACK in `tflite-runtime`) nothing is claimed: what they give
is counted against the outputs of the reference kernels and is no verdict.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from qlvit_edge.guard.judge import Judge
from qlvit_edge.inference.arithmetic import Arithmetic, ArithmeticName
from qlvit_edge.inference.chain import ChainInterpreter
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.modelfile.metadata import ModelMetadata

_KERNELS: dict[ArithmeticName, str] = {
    "reference": "reference kernels",
    "xnnpack": "XNNPACK's kernels",
}


@dataclass(frozen=True)
class GoldenReport:
    """How the golden pairs came out.

    Attributes:
        pairs: how many the file holds.
        must_be_equal: whether the kernels that ran must give them all, byte for byte.
        compared: how many were compared.
        passed: whether they all are equal; None where they need not be, or none was compared.
        arithmetic: the arithmetic that they were compared with, `reference` or `xnnpack`; None
            where none was compared.
        reason: why none was compared or why they need not be equal; None otherwise.
        equal: pairs that are equal to the byte; None where none was compared, as are the rest.
        values_that_differ: logits and features.
        judgements_that_differ: pairs of which the guard makes something else; None where none
            was compared or the file has no guard.
        logit_steps: largest difference of a logit, in steps, where pairs need not be equal.
        feature_steps: of the features of a pair, the largest mean, likewise; None without any.
        largest_difference: of a logit or feature, in steps of its output.
    """

    pairs: int
    must_be_equal: bool
    compared: int
    passed: bool | None = None
    arithmetic: ArithmeticName | None = None
    reason: str | None = None
    equal: int | None = None
    values_that_differ: int | None = None
    largest_difference: int | None = None
    judgements_that_differ: int | None = None
    logit_steps: int | None = None
    feature_steps: float | None = None

    @property
    def sentence(self) -> str:
        """The finding."""
        if self.arithmetic is None:
            return f"Golden pairs were not compared: {self.reason}."
        text = f"{self.equal} of {self.compared} golden pairs equal to the byte"
        if self.largest_difference:
            text += (
                f" (values that differ: {self.values_that_differ}, by at most "
                f"{self.largest_difference} LSB)"
            )
        if self.judgements_that_differ:
            text += f" (verdicts or distances that differ: {self.judgements_that_differ})"
        if not self.must_be_equal:
            return f"{text}; none must be: {self.reason}."
        kernels = _KERNELS[self.arithmetic]
        return f"{text}, {'as' if self.passed else 'but'} {kernels} must give them all."

    @property
    def failure(self) -> str | None:
        """The finding where pairs are unequal that must not be; None otherwise."""
        if self.passed is not False or self.arithmetic is None:
            return None
        kernels = _KERNELS[self.arithmetic]
        return f"{kernels} give {self.equal} of {self.compared} golden pairs only"

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON, without what does not apply."""
        values = asdict(self).items()
        return {name: value for name, value in values if value is not None or name == "passed"}


def compare_golden(
    metadata: ModelMetadata | None, interpreter: Interpreter | ChainInterpreter
) -> GoldenReport:
    """Run every pair's image on the loaded kernels and compare all outputs.

    Args:
        metadata: what the file says about itself; None when another tool wrote it.
        interpreter: with the file loaded.

    Raises:
        ModelFileError: a pair's image is damaged.
        DeviceError: the runtime failed.
    """
    if metadata is None or not metadata.golden:
        return GoldenReport(0, False, 0, reason="the file holds none")
    pairs = metadata.golden
    if any(output.dtype != np.int8 for output in interpreter.outputs):
        return GoldenReport(len(pairs), False, 0, reason="the model's output is not int8")
    reason = _no_claim(metadata, interpreter.arithmetic)
    named = interpreter.arithmetic.name if reason is None else None
    judge = None if metadata.guard is None else Judge(metadata.guard)
    xnnpack = named == "xnnpack"
    differences, judged_alike, feature_means = [], [], []
    for pair in pairs:
        pixels = pair.image(metadata.channels)
        outputs = interpreter.invoke_all(as_input(pixels, interpreter.input))
        given = [output.reshape(-1).astype(np.int64) for output in outputs]
        recorded = np.concatenate(pair.recorded(xnnpack=xnnpack))
        differences.append(np.abs(np.concatenate(given) - recorded))
        feature_means += [float(differences[-1][given[0].size :].mean())] if given[1:] else []
        judged = None if judge is None else judge.judge_input(outputs[0], outputs[1], pixels)
        judged_alike.append(judged is None or judged.integers == pair.judged(xnnpack=xnnpack))
    same = [
        alike and not difference.any()
        for alike, difference in zip(judged_alike, differences, strict=True)
    ]
    equal = sum(same)
    return GoldenReport(
        pairs=len(pairs),
        must_be_equal=reason is None,
        compared=len(pairs),
        passed=equal == len(pairs) if reason is None else None,
        arithmetic=named or "reference",
        reason=reason,
        equal=equal,
        values_that_differ=int(sum((difference > 0).sum() for difference in differences)),
        largest_difference=max(int(difference.max()) for difference in differences),
        judgements_that_differ=None if judge is None else judged_alike.count(False),
        logit_steps=None
        if reason is None
        else max(int(one[: given[0].size].max()) for one in differences),
        feature_steps=max(feature_means) if reason is not None and feature_means else None,
    )


def _no_claim(metadata: ModelMetadata, running: Arithmetic) -> str | None:
    """Return why the kernels that run need not give the pairs; None where they must."""
    if running.name is None:
        return f"the file ran on {running}"
    if running.name == "reference":
        return None
    if metadata.format_version == 1:
        return "the file has no pairs for XNNPACK's kernels (format 1: convert it again)"
    if running.runtime.package == "tflite-runtime":
        return f"nothing is proved of XNNPACK in {running.runtime}"
    if running.apart:
        return f"{' and '.join(running.apart)} may round otherwise in {running.runtime}"
    return None
