"""From a proven graph to a proven chain."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlvit_edge.converters.convert import Conversion
from qlvit_edge.converters.edgetpu.compiler import CompilerLog, compile_models
from qlvit_edge.converters.edgetpu.plan import Plan, make_plan
from qlvit_edge.converters.edgetpu.report import (
    ChainEquality,
    ChainReport,
    CutReport,
    SegmentReport,
    WholeShare,
)
from qlvit_edge.converters.edgetpu.segments import Segment, cut
from qlvit_edge.converters.graph import Graph, Tensor
from qlvit_edge.converters.proof.equality import TITLES, Views, equal_outputs, every_tensor
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.files import sha256
from qlvit_edge.inference.chain import ChainInterpreter
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.modelfile.chain import write_chain
from qlvit_edge.modelfile.chain_description import Border, ChainDescription, ChainSegment
from qlvit_edge.modelfile.edgetpu import PARAMETER_BYTES, SRAM_BYTES
from qlvit_edge.modelfile.edgetpu_forecast import FORECAST_ONLY, forecast
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.progress import Progress

SMALLEST_SHARE = 0.85
"""Share of the MACs that stays on the Edge TPU when round trips are saved."""


@dataclass(frozen=True)
class ChainFiles:
    """A graph cut and written, not yet in an archive.

    Attributes:
        plan: what runs where.
        segments: the parts, in order.
        files: each segment's `.tflite` by its name.
        whole: the uncut graph as a `.tflite`.
        outputs: names of the graph's outputs: logits, and features if it gives them.
    """

    plan: Plan
    segments: tuple[Segment, ...]
    files: dict[str, bytes]
    whole: bytes
    outputs: tuple[str, ...]


def make_chain(
    conversion: Conversion,
    *,
    smallest_share: float,
    compiler: Path | None,
    timeout: int,
    progress: Progress,
) -> tuple[bytes, ChainReport]:
    """Cut a conversion lowered with `EdgeTpu`, compile, pack and prove the chain.

    Args:
        conversion: the whole graph, proven.
        smallest_share: share of the MACs that stays on the Edge TPU (0 to 1).
        compiler: the compiler, or None to leave the segments uncompiled.
        timeout: seconds the compiler may take.
        progress: makes a progress bar from a description and a total.

    Returns:
        The chain's archive, and what there is to report.

    Raises:
        ConversionError: the chain is not equal to the whole, or the compiler failed.
    """
    with progress("cutting the graph", 1) as advance:
        chain = cut_graph(conversion.graph, smallest_share)
        whole = cut_graph(conversion.graph, 1.0).plan if smallest_share < 1 else chain.plan
        advance()
    log: CompilerLog | None = None
    compiled: dict[str, bytes] = {}
    if compiler is not None:
        with progress("compiling for the Edge TPU", 1) as advance:
            log, compiled = compile_segments(chain, compiler, timeout)
            advance()
    archive = pack(chain, conversion.metadata, compiled)
    with progress("comparing the chain with the whole", len(conversion.views)) as advance:
        equality = prove_chain(archive, conversion, chain.whole, advance)
    all_macs = WholeShare(round_trips=whole.trips, tpu_macs_share=whole.share)
    return archive, ChainReport(cut_report(chain, log), all_macs, equality)


def cut_graph(graph: Graph, smallest_share: float = SMALLEST_SHARE) -> ChainFiles:
    """Cut a graph into segments that obey the rules of the Edge TPU.

    Args:
        graph: lowered with :class:`~qlvit_edge.converters.idioms.numerics.EdgeTpu`.
        smallest_share: see :func:`make_plan`.

    Raises:
        ConversionError: nothing of the graph runs on the Edge TPU.
    """
    whole = write_tflite(graph)
    plan = make_plan(graph, forecast(read_document(whole)).sure, smallest_share)
    segments = cut(graph, plan)
    if not any(segment.device == "tpu" for segment in segments):
        raise ConversionError(graph.name, "nothing of it runs on an Edge TPU", "use --target cpu")
    files = {f"{segment.name}.tflite": write_tflite(segment.graph) for segment in segments}
    for segment in segments:
        if segment.device == "tpu":
            _require_mapped(segment, files[f"{segment.name}.tflite"])
    outputs = tuple(tensor.name for tensor in graph.outputs)
    return ChainFiles(plan, segments, files, whole, outputs)


def compile_segments(
    chain: ChainFiles, compiler: Path, timeout: int
) -> tuple[CompilerLog, dict[str, bytes]]:
    """Compile the Edge TPU segments together; see :func:`compile_models`."""
    with tempfile.TemporaryDirectory(prefix="qlvit-edge-") as name:
        folder = Path(name)
        paths = []
        for segment in chain.segments:
            if segment.device == "tpu":
                path = folder / f"{segment.name}.tflite"
                path.write_bytes(chain.files[path.name])
                paths.append(path)
        target = folder / "compiled"
        target.mkdir()
        return compile_models(compiler, paths, target, timeout)


def pack(chain: ChainFiles, metadata: ModelMetadata, compiled: dict[str, bytes]) -> bytes:
    """Return the chain's archive.

    Args:
        chain: the segments.
        metadata: what the model says about itself.
        compiled: compiled files by segment file name; empty when there was no compiler.
    """
    graphs = [segment.graph for segment in chain.segments]
    logits, *features = chain.outputs
    borders: dict[str, Tensor] = {}
    for graph in graphs:
        for tensor in (*graph.inputs, *graph.outputs):
            borders.setdefault(tensor.name, tensor)
    made_of = []
    files = dict(chain.files)
    for segment in chain.segments:
        name = f"{segment.name}.tflite"
        twin = f"{segment.name}_edgetpu.tflite" if name in compiled else None
        if twin is not None:
            files[twin] = compiled[name]
        made_of.append(
            ChainSegment(
                file=name,
                sha256=sha256(files[name]),
                device=segment.device,
                inputs=[tensor.name for tensor in segment.graph.inputs],
                outputs=[tensor.name for tensor in segment.graph.outputs],
                operators=len(segment.graph.operations),
                macs=segment.graph.macs(),
                parameter_bytes=_parameter_bytes(segment.graph),
                compiled=twin,
                compiled_sha256=None if twin is None else sha256(files[twin]),
            )
        )
    description = ChainDescription(
        segments=made_of,
        borders=[_border(tensor) for tensor in borders.values()],
        input=graphs[0].inputs[0].name,
        output=logits,
        features=features[0] if features else None,
        round_trips=chain.plan.trips,
        border_bytes=_border_bytes(chain.segments),
        tpu_macs_share=chain.plan.share,
        witness=list(chain.plan.witness),
        moved_to_cpu=list(chain.plan.moved),
        model=metadata,
    )
    return write_chain(description, files)


def prove_chain(
    archive: bytes, conversion: Conversion, whole: bytes, advance: Callable[[], None]
) -> ChainEquality:
    """Compare a chain with the whole graph, byte for byte, on two kernel sets.

    On both every tensor that crosses a border is compared, on the images that were compared on
    the reference kernels before; on the default kernels the outputs of all.

    Raises:
        ConversionError: a byte differs.
        ModelFileError: kernels crashed on a segment.
    """
    views = conversion.views[conversion.compared]
    for kernels in (Kernels.REFERENCE, Kernels.AUTO):
        borders, unequal = run_in_child("chain", compare_chain, archive, whole, views, kernels)
        if unequal:
            name, count = next(iter(unequal.items()))
            title = TITLES["reference" if kernels is Kernels.REFERENCE else "xnnpack"]
            raise ConversionError(
                "chain",
                f"{name} differs from the whole model's in {count} images, on {title}",
                "report this as a bug",
            )
    interpreter = ChainInterpreter(archive, isolated=True)
    for view, *outputs in zip(conversion.views, *conversion.outputs, strict=True):
        given = tuple(output.ravel() for output in interpreter.invoke_all(view))
        if not equal_outputs(given, tuple(outputs)):
            raise ConversionError(
                "chain",
                "its outputs differ from the whole model's on the default kernels",
                "report this as a bug",
            )
        advance()
    interpreter.close()
    return ChainEquality(
        borders=borders,
        reference_images=len(views),
        default_images=len(conversion.views),
        default_kernels=interpreter.kernels_used,
    )


def compare_chain(
    archive: bytes, whole: bytes, views: Views, kernels: Kernels
) -> tuple[int, dict[str, int]]:
    """Run both on the reference or the default kernels, in this process.

    Returns:
        Number of tensors compared per image, and by name in how many images one differs.
    """
    chain = ChainInterpreter(archive, kernels=kernels)
    uncut = Interpreter(whole, kernels=kernels, keep_all_tensors=kernels is Kernels.REFERENCE)
    every = every_tensor(whole, uncut)
    unequal: dict[str, int] = {}
    compared = 0
    for view in views:
        chain.invoke(view)
        uncut.invoke(view)
        expected = {uncut.input.name: view[np.newaxis]} | every(view)
        borders = chain.borders()
        compared = len(borders)
        for name, values in borders.items():
            if not np.array_equal(values, expected[name]):
                unequal[name] = unequal.get(name, 0) + 1
    return compared, unequal


def cut_report(chain: ChainFiles, log: CompilerLog | None) -> CutReport:
    """Return what was cut, forecast and compiled."""
    on_tpu = [segment for segment in chain.segments if segment.device == "tpu"]
    parameters = sum(_parameter_bytes(segment.graph) for segment in on_tpu)
    least, most = PARAMETER_BYTES
    fits = "fit" if parameters <= least else "may fit" if parameters <= most else "do not fit"
    return CutReport(
        round_trips=chain.plan.trips,
        segments=tuple(
            SegmentReport(
                file=f"{segment.name}.tflite",
                device=segment.device,
                operators=len(segment.graph.operations),
                macs=segment.graph.macs(),
                parameter_bytes=_parameter_bytes(segment.graph),
            )
            for segment in chain.segments
        ),
        tpu_macs_share=chain.plan.share,
        witness=chain.plan.witness,
        moved_to_cpu=chain.plan.moved,
        border_bytes=_border_bytes(chain.segments),
        tpu_parameter_bytes=parameters,
        parameters=fits,
        sram_bytes=SRAM_BYTES,
        forecast=FORECAST_ONLY,
        compiler=log,
    )


def _require_mapped(segment: Segment, content: bytes) -> None:
    """A segment for the Edge TPU holds nothing doubtful when looked at by itself."""
    found = forecast(read_document(content))
    for operation, sure, reason in zip(
        segment.graph.operations, found.sure, found.reasons, strict=True
    ):
        if not sure:
            raise ConversionError(
                segment.name,
                f"{operation.name}: {reason or 'not sure to be mapped'}",
                "report this as a bug",
            )


def _border(tensor: Tensor) -> Border:
    if tensor.dtype not in ("int8", "uint8"):
        raise ConversionError(
            tensor.name, f"{tensor.dtype} crosses a border", "only 8-bit tensors may"
        )
    return Border(
        name=tensor.name,
        shape=list(tensor.shape),
        dtype="INT8" if tensor.dtype == "int8" else "UINT8",
        scale=tensor.scale,
        zero_point=tensor.zero_point,
    )


def _border_bytes(segments: Sequence[Segment]) -> int:
    """Bytes into and out of all runs of the Edge TPU."""
    return sum(
        int(np.prod(tensor.shape))
        for segment in segments
        if segment.device == "tpu"
        for tensor in (*segment.graph.inputs, *segment.graph.outputs)
    )


def _parameter_bytes(graph: Graph) -> int:
    return sum(tensor.data.nbytes for tensor in graph.tensors() if tensor.data is not None)
