"""Golden pairs: whether this device computes the bytes that the model file records.

A pair holds an input and the logits of both proved arithmetics. The kernels that run must give
those of their own arithmetic, all of them: nearly equal is unequal. About kernels without a
proved arithmetic (builtin ones, `tflite-runtime`'s) nothing is claimed: what they give is
counted against the reference logits and passes no judgement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlvit_edge.modelfile.metadata import GoldenPair, ModelMetadata
from qlvit_edge.runtime.arithmetic import Arithmetic, ArithmeticName
from qlvit_edge.runtime.chain import ChainInterpreter
from qlvit_edge.runtime.interpreter import Interpreter


@dataclass(frozen=True)
class GoldenOutcome:
    """What came of the golden pairs.

    Attributes:
        pairs: pairs in the file.
        compared: pairs that were run; none where the output is not int8.
        equal: pairs of which every logit is the recorded one.
        values_that_differ: logits that are not, over all pairs.
        largest_difference: largest distance of a logit, in steps.
        arithmetic: the arithmetic whose logits they were compared with; None if nothing is
            claimed of the kernels that ran.
        passed: whether all are equal; None where nothing is claimed.
        reason: why nothing was compared or is claimed, in words; else empty.
    """

    pairs: int
    compared: int = 0
    equal: int = 0
    values_that_differ: int = 0
    largest_difference: int = 0
    arithmetic: ArithmeticName | None = None
    passed: bool | None = None
    reason: str = ""

    def __str__(self) -> str:
        if not self.compared:
            return f"golden pairs were not compared: {self.reason}"
        count = f"{self.equal} of {self.compared} golden pairs"
        if self.passed:
            return f"{count} equal to the byte, as they must be on {_TITLES[self.arithmetic]}"
        far = f"{self.values_that_differ} logits differ, by at most {self.largest_difference}"
        if self.passed is None:
            return f"{count} equal to the byte ({far}); {self.reason}"
        return f"{_TITLES[self.arithmetic]} give {count} only ({far}): they must give all"


_TITLES: dict[ArithmeticName | None, str] = {
    "reference": "reference kernels",
    "xnnpack": "XNNPACK's kernels",
}


def compare_golden_pairs(
    metadata: ModelMetadata | None, interpreter: Interpreter | ChainInterpreter
) -> GoldenOutcome:
    """Run a model's golden pairs on the kernels that `interpreter` runs.

    Args:
        metadata: what the model file says; None when another tool wrote it.
        interpreter: the loaded model.

    Raises:
        ModelFileError: the image of a pair is damaged.
        DeviceError: the runtime failed.
    """
    pairs: list[GoldenPair] = [] if metadata is None else metadata.golden
    if metadata is None or not pairs:
        return GoldenOutcome(0, reason="the file holds none")
    if interpreter.output.dtype != np.int8:
        return GoldenOutcome(len(pairs), reason="the model's output is not int8")
    claimed, reason = _claim(metadata, interpreter.arithmetic)
    differences = []
    for pair in pairs:
        recorded = pair.xnnpack_logits if claimed == "xnnpack" else pair.logits
        logits = interpreter.invoke(_input(pair, metadata, interpreter))[0]
        differences.append(np.abs(logits.astype(np.int64) - np.array(recorded, np.int64)))
    equal = sum(not difference.any() for difference in differences)
    return GoldenOutcome(
        pairs=len(pairs),
        compared=len(pairs),
        equal=equal,
        values_that_differ=int(sum((difference > 0).sum() for difference in differences)),
        largest_difference=max(int(difference.max()) for difference in differences),
        arithmetic=claimed,
        passed=None if claimed is None else equal == len(pairs),
        reason=reason,
    )


def _claim(
    metadata: ModelMetadata, arithmetic: Arithmetic
) -> tuple[ArithmeticName | None, str]:
    """Return the arithmetic whose logits must come out, or None and why nothing is claimed."""
    if arithmetic.name is None:
        return None, f"nothing is claimed of {arithmetic}"
    if arithmetic.name == "reference":
        return "reference", ""
    if metadata.format_version == 1:
        reason = "a file of format 1 has none for XNNPACK: convert it again"
        return None, reason
    if arithmetic.runtime.package == "tflite-runtime":
        return None, f"nothing is claimed of {arithmetic.runtime}"
    return "xnnpack", ""
