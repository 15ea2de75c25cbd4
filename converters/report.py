"""What a conversion reports: the proof, typed, and as the JSON of `convert --report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlvit_edge.converters.prove import Accuracies, Equality, KernelDifference
from qlvit_edge.integer.log2_softmax import Form


@dataclass(frozen=True)
class EqualityReport:
    """The NumPy reference against the reference kernels.

    Attributes:
        images: images compared.
        at_every_tensor: of these, compared at every tensor; the others at the logits.
        tensors: activations compared per image.
        unequal: tensor name → images in which any of its bytes differs; empty if proven.
    """

    images: int
    at_every_tensor: int
    tensors: int
    unequal: dict[str, int]

    @classmethod
    def of(cls, found: Equality) -> EqualityReport:
        """Leave out the logits."""
        return cls(found.images, found.at_every_tensor, found.tensors, found.unequal)


@dataclass(frozen=True)
class ReferenceAccuracy:
    """Accuracies on the images that the NumPy reference ran on too.

    Attributes:
        images: how many.
        of_reference: the NumPy reference's.
        of_float: the float network's.
        of_file: the file's, on the default kernels.
    """

    images: int
    of_reference: float
    of_float: float
    of_file: float

    def as_dict(self) -> dict[str, float]:
        """Return the accuracies for JSON."""
        return {
            "images": self.images,
            "reference": self.of_reference,
            "float": self.of_float,
            "file": self.of_file,
        }


@dataclass(frozen=True)
class ProofReport:
    """What was converted and what was proved of it.

    Attributes:
        reduced_proof: on the few bundled crops, for want of the test set.
        proof_images: where the images are from, in words.
        unusual_images: kinds of images that are not plain 8-bit RGB, with their numbers.
        softmax: form of the integer softmax.
        tensors: of the file, all integer.
        operators: of the file, all builtin.
        bytes: size of the file.
        sha256: of the file.
        equality: reference kernels against the NumPy reference.
        default_kernels: default kernels against the NumPy reference.
        accuracy: of the file against the float network, on all images.
        reference_accuracy: on those that the NumPy reference ran on.
        golden_pairs: pairs in the file.
        seconds: of the conversion with its proof.
    """

    reduced_proof: bool
    proof_images: str
    unusual_images: dict[str, int]
    softmax: Form
    tensors: int
    operators: int
    bytes: int
    sha256: str
    equality: EqualityReport
    default_kernels: KernelDifference
    accuracy: Accuracies
    reference_accuracy: ReferenceAccuracy
    golden_pairs: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON.

        `all_integer` and `builtin_operators_only` are in it because a file of which they do
        not hold is refused, and `drop_points` because accuracy budgets are in points.
        """
        return {
            **asdict(self),
            "accuracy": {**asdict(self.accuracy), "drop_points": self.accuracy.drop},
            "reference_accuracy": self.reference_accuracy.as_dict(),
            "all_integer": True,
            "builtin_operators_only": True,
        }
