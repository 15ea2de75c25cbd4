"""What `convert --target edgetpu` reports: the segments, the compiler's findings, the proof."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlvit_edge.converters.edgetpu.compiler import CompilerLog
from qlvit_edge.modelfile.edgetpu import Device


@dataclass(frozen=True)
class SegmentReport:
    """One segment of a chain.

    Attributes:
        file: its `.tflite` file in the archive.
        device: what runs it.
        operators: in it.
        macs: of one inference.
        parameter_bytes: of its constants.
    """

    file: str
    device: Device
    operators: int
    macs: int
    parameter_bytes: int


@dataclass(frozen=True)
class WholeShare:
    """What it would take to have every convolution on the Edge TPU.

    Attributes:
        round_trips: from the host to the Edge TPU and back.
        tpu_macs_share: share of the MACs that runs there, 0 to 1.
    """

    round_trips: int
    tpu_macs_share: float


@dataclass(frozen=True)
class ChainEquality:
    """A chain against its uncut graph, which is proven.

    Attributes:
        borders: tensors compared per image on the reference and on the default kernels, byte
            for byte.
        reference_images: images of that comparison; all are equal, else there is no chain.
        default_images: images whose outputs were compared on the default kernels; equal too.
        default_kernels: what ran, in words.
    """

    borders: int
    reference_images: int
    default_images: int
    default_kernels: str


@dataclass(frozen=True)
class CutReport:
    """What was cut, forecast and compiled.

    Attributes:
        round_trips: from the host to the Edge TPU and back.
        segments: the parts, in order.
        tpu_macs_share: share of the MACs in the Edge TPU's segments, 0 to 1.
        witness: operations along one path that need as many round trips.
        moved_to_cpu: operations left to the CPU to save round trips.
        border_bytes: into and out of all runs of the Edge TPU.
        tpu_parameter_bytes: constants of its segments.
        parameters: whether they stay in its memory, in words.
        sram_bytes: of that memory.
        forecast: what kind of statement these are.
        compiler: its log; None where the segments were not compiled.
    """

    round_trips: int
    segments: tuple[SegmentReport, ...]
    tpu_macs_share: float
    witness: tuple[str, ...]
    moved_to_cpu: tuple[str, ...]
    border_bytes: int
    tpu_parameter_bytes: int
    parameters: str
    sram_bytes: int
    forecast: str
    compiler: CompilerLog | None

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        compiler = None if self.compiler is None else self.compiler.as_dict()
        return {**asdict(self), "compiler": compiler}


@dataclass(frozen=True)
class ChainReport:
    """A chain: how it was cut, and that it equals the whole.

    Attributes:
        cut: the segments.
        all_macs_on_tpu: what every convolution on the Edge TPU would take.
        equality: the proof.
    """

    cut: CutReport
    all_macs_on_tpu: WholeShare
    equality: ChainEquality

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON; a chain with an unequal tensor is refused."""
        return {
            **self.cut.as_dict(),
            "all_macs_on_tpu": asdict(self.all_macs_on_tpu),
            "equality": {**asdict(self.equality), "reference_equal": True},
        }
