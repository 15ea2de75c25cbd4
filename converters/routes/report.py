"""What the routes to ONNX and through onnx2tf report of the files they write."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlvit_edge.converters.routes.closeness import Bound, Closeness


@dataclass(frozen=True)
class OnnxAccuracy:
    """Share of the images with the right class.

    Attributes:
        pytorch: in PyTorch.
        onnxruntime: of the file in ONNX Runtime.
    """

    pytorch: float
    onnxruntime: float


@dataclass(frozen=True)
class OnnxReport:
    """An ONNX file that computes the network.

    Attributes:
        images: which images it was judged on, in words.
        reduced_proof: whether that is less than the whole test side.
        bytes: size of the file.
        sha256: of the file.
        closeness: its logits against PyTorch's.
        bound: what they keep.
        accuracy: on the images.
    """

    images: str
    reduced_proof: bool
    bytes: int
    sha256: str
    closeness: Closeness
    bound: Bound
    accuracy: OnnxAccuracy

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {"route": "onnx", **asdict(self)}


@dataclass(frozen=True)
class KernelReport:
    """A file on one set of kernels.

    Attributes:
        used: what ran, in words; the reason where it did not run.
        closeness: its logits against PyTorch's; None where it did not run.
    """

    used: str
    closeness: Closeness | None


@dataclass(frozen=True)
class FormatReport:
    """One of the files that onnx2tf and TensorFlow make.

    Attributes:
        file: its name; None where it was refused.
        failure: why it was refused, with the figures; None where it passes.
        bytes: size of the file; 0 where there is none.
        sha256: of the file.
        seconds: of making it.
        float_tensors: how many of its tensors are float.
        bound: what its logits have to keep.
        kernels: by set of kernels.
    """

    file: str | None
    failure: str | None
    bytes: int
    sha256: str
    seconds: float
    float_tensors: int
    bound: Bound
    kernels: dict[str, KernelReport]


@dataclass(frozen=True)
class Onnx2tfReport:
    """The files that onnx2tf and TensorFlow make.

    Attributes:
        images: which images they were judged on, in words.
        reduced_proof: whether that is less than the whole test side.
        calibration: which images the full-integer file's ranges are from, in words.
        formats: by format.
    """

    images: str
    reduced_proof: bool
    calibration: str
    formats: dict[str, FormatReport]

    @property
    def refused(self) -> list[str]:
        """The formats whose file is not the network."""
        return [name for name, found in self.formats.items() if found.failure]

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {"route": "onnx2tf", **asdict(self)}
