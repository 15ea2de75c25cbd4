"""What a conversion reports: the proof, typed, and as the JSON of `convert --report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlvit_edge.converters.one_arithmetic import OneArithmetic
from qlvit_edge.converters.proof.accuracy import Accuracies
from qlvit_edge.converters.proof.equality import Equality, Specification
from qlvit_edge.converters.proof_images import Sample
from qlvit_edge.integer.log2_softmax import Form


@dataclass(frozen=True)
class EqualityReport:
    """The specification against kernels, at every tensor.

    Attributes:
        arithmetic: ``"xnnpack"``, on the default kernels, or ``"reference"``, on those.
        kernels: what ran, in words.
        images: images compared.
        tensors: activations compared per image.
        unequal: tensor name → images in which any of its bytes differs; empty if proven.
    """

    arithmetic: Specification
    kernels: str
    images: int
    tensors: int
    unequal: dict[str, int]

    @classmethod
    def of(cls, found: Equality) -> EqualityReport:
        """Leave out the outputs."""
        return cls(found.arithmetic, found.kernels, found.images, found.tensors, found.unequal)


@dataclass(frozen=True)
class OneArithmeticReport:
    """That x86-64 and arm64 compute the same for every input.

    Attributes:
        operations: operations that kernels round differently near ties.
        tried: products and sums that were tried in both forms, all of them.
        moved: by tensor, float32 steps by which its scale was moved for it.
    """

    operations: int
    tried: int
    moved: dict[str, int]

    @classmethod
    def of(cls, found: OneArithmetic) -> OneArithmeticReport:
        """Leave out the graph."""
        return cls(found.operations, found.tried, found.moved)


@dataclass(frozen=True)
class ProofReport:
    """What was converted and what was proved of it.

    Attributes:
        reduced_proof: on less than the whole test side: bundled crops, a part of it, or a side
            with images that were trained on or were not held against the training images.
        proof_images: which images accuracy is from, in words.
        sample: the same in figures.
        unusual_images: kinds of images that are not plain 8-bit RGB, with their numbers.
        softmax: form of the integer softmax.
        tensors: of the file, all integer.
        operators: of the file, all builtin.
        bytes: size of the file.
        sha256: of the file.
        equality: the default kernels against XNNPACK's arithmetic.
        reference_equality: the reference kernels against theirs; None on a runtime whose
            reference kernels are not known to compute it.
        runtime: what both were proved with: package, version and architecture.
        one_arithmetic: that the first is the same on x86-64 and arm64.
        accuracy: of the file against the float network, on all images.
        golden_pairs: pairs in the file.
        seconds: of the conversion with its proof.
    """

    reduced_proof: bool
    proof_images: str
    sample: Sample
    unusual_images: dict[str, int]
    softmax: Form
    tensors: int
    operators: int
    bytes: int
    sha256: str
    equality: EqualityReport
    reference_equality: EqualityReport | None
    runtime: str
    one_arithmetic: OneArithmeticReport
    accuracy: Accuracies
    golden_pairs: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON.

        `all_integer` and `builtin_operators_only` are in it because a file of which they do
        not hold is refused.
        """
        return {
            **asdict(self),
            "sample": {**asdict(self.sample), "whole": self.sample.whole},
            "accuracy": self.accuracy.as_dict(),
            "all_integer": True,
            "builtin_operators_only": True,
        }
