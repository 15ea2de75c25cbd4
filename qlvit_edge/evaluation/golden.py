"""Golden pairs of a model file against what this device computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from qlvit_edge.modelfile.metadata import GoldenPair
from qlvit_edge.runtime.chain import ChainInterpreter
from qlvit_edge.runtime.classifier import as_input
from qlvit_edge.runtime.interpreter import Interpreter


@dataclass(frozen=True)
class GoldenReport:
    """How the golden pairs came out.

    Attributes:
        pairs: how many the file holds.
        must_be_equal: whether these kernels must give them all, byte for byte.
        compared: how many were compared.
        passed: whether they all are equal; None where they need not be, or none was compared.
        reason: why none was compared; None otherwise.
        equal: pairs that are equal to the byte; None where none was compared, as are the rest.
        values_that_differ: logits.
        largest_difference: of a logit, in steps of the output.
    """

    pairs: int
    must_be_equal: bool
    compared: int
    passed: bool | None = None
    reason: str | None = None
    equal: int | None = None
    values_that_differ: int | None = None
    largest_difference: int | None = None

    @property
    def sentence(self) -> str:
        """The finding."""
        if not self.compared:
            return f"Golden pairs were not compared: {self.reason}."
        text = f"{self.equal} of {self.compared} golden pairs equal to the byte"
        if self.largest_difference:
            text += (
                f" (logits that differ: {self.values_that_differ}, by at most "
                f"{self.largest_difference} LSB)"
            )
        if self.must_be_equal:
            passed = "as it must be" if self.passed else "but reference kernels must give them all"
            return f"{text}, {passed}."
        return f"{text}; only reference kernels must give the same bytes."

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON, without what does not apply."""
        values = asdict(self).items()
        return {name: value for name, value in values if value is not None or name == "passed"}


def compare_golden(
    pairs: Sequence[GoldenPair],
    interpreter: Interpreter | ChainInterpreter,
    channels: int,
    *,
    must_be_equal: bool,
) -> GoldenReport:
    """Run every pair's image and compare the logits.

    Args:
        pairs: of the file.
        interpreter: with the file loaded.
        channels: of its input, 3 or 1.
        must_be_equal: whether its kernels must give the same bytes.

    Raises:
        ModelFileError: a pair's image is damaged.
    """
    if not pairs:
        return GoldenReport(0, must_be_equal, 0, reason="the file holds none")
    if interpreter.output.dtype != np.int8:
        return GoldenReport(len(pairs), must_be_equal, 0, reason="the model's output is not int8")
    differences = []
    for pair in pairs:
        logits = interpreter.invoke(as_input(pair.image(channels), interpreter.input))[0]
        differences.append(np.abs(logits.astype(np.int64) - np.array(pair.logits, np.int64)))
    equal = sum(not difference.any() for difference in differences)
    return GoldenReport(
        pairs=len(pairs),
        must_be_equal=must_be_equal,
        compared=len(pairs),
        passed=equal == len(pairs) if must_be_equal else None,
        equal=equal,
        values_that_differ=int(sum((difference > 0).sum() for difference in differences)),
        largest_difference=max(int(difference.max()) for difference in differences),
    )
