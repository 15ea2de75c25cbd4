"""Writes the files of the routes to ONNX and through onnx2tf: those that compute the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qlvit_edge.converters.idioms.scales import CalibratedScales
from qlvit_edge.converters.proof_images import ProofImages
from qlvit_edge.converters.routes.closeness import FLOAT32, Bound, compare_logits
from qlvit_edge.converters.routes.environment import find_python
from qlvit_edge.converters.routes.onnx import export_onnx
from qlvit_edge.converters.routes.onnx2tf import BOUNDS, calibration_views, make_files
from qlvit_edge.converters.routes.ort import onnx_logits
from qlvit_edge.converters.routes.report import (
    FormatReport,
    KernelReport,
    Onnx2tfReport,
    OnnxAccuracy,
    OnnxReport,
)
from qlvit_edge.converters.routes.torch_answers import torch_answers
from qlvit_edge.converters.routes.verdict import Verdict, judge
from qlvit_edge.errors import ConversionError
from qlvit_edge.files import ensure_writable, sha256, write_bytes
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint


def write_onnx(
    checkpoint: Checkpoint, proof: ProofImages, count: int, out: Path, progress: Progress
) -> OnnxReport:
    """Write the ONNX file if ONNX Runtime computes PyTorch's logits with it.

    Args:
        checkpoint: the trained network.
        proof: the images to judge by.
        count: most of them.
        out: the file.
        progress: makes a progress bar from a description and a total.

    Raises:
        ConversionError: it cannot be exported, or computes something else.
    """
    content = export_onnx(checkpoint)
    answers = torch_answers(checkpoint, proof, count, progress)
    with progress("running ONNX Runtime", len(answers.views)) as advance:
        logits = onnx_logits(content, answers.views, advance)
    closeness = compare_logits(answers.logits, logits)
    if not closeness.within(FLOAT32):
        raise ConversionError(
            out,
            f"not written: ONNX Runtime does not give PyTorch's logits ({closeness.words})",
            "report this as a bug",
        )
    write_bytes(out, content)
    return OnnxReport(
        images=answers.sample.words,
        reduced_proof=not answers.sample.whole,
        bytes=len(content),
        sha256=sha256(content),
        closeness=closeness,
        bound=FLOAT32,
        accuracy=OnnxAccuracy(
            pytorch=float((answers.logits.argmax(1) == answers.labels).mean()),
            onnxruntime=float((logits.argmax(1) == answers.labels).mean()),
        ),
    )


def write_onnx2tf(
    checkpoint: Checkpoint,
    calibration: Callable[[], CalibratedScales],
    proof: ProofImages,
    count: int,
    out: Path,
    *,
    max_drop: float,
    python: Path | None,
    data: Path | None,
    progress: Progress,
) -> Onnx2tfReport:
    """Write the `.tflite` files of onnx2tf and TensorFlow that compute the network's logits.

    Args:
        checkpoint: the trained network.
        calibration: loads its calibration, whose images the full-integer file's ranges are
            from; not asked if there is none.
        proof: the images to judge by.
        count: most of them.
        out: the folder.
        max_drop: accuracy that 8 bits may cost, in points.
        python: of the environment with onnx2tf; None: see `find_python`.
        data: where the calibration images are; None: where the run's data was.
        progress: makes a progress bar from a description and a total.

    Raises:
        ConversionError: the other tools failed.
        MissingExtraError: there is no environment with them.
    """
    interpreter = find_python(python)
    ensure_writable(out)
    name = checkpoint.folder.resolve().name
    views, origin = calibration_views(checkpoint, calibration, data)
    answers = torch_answers(checkpoint, proof, count, progress)
    with progress("running onnx2tf and TensorFlow", 1) as advance:
        files = make_files(checkpoint, interpreter, views, out / f"{name}-onnx2tf.log")
        advance()
    formats: dict[str, FormatReport] = {}
    for kind, made in files.items():
        with progress(f"judging {kind}", 3) as advance:
            verdict = judge(kind, made, BOUNDS[kind], max_drop, answers, advance)
        target = out / f"{name}-{kind}.tflite"
        formats[kind] = _format_report(verdict, target, BOUNDS[kind])
        if formats[kind].file is not None:
            write_bytes(target, made.content or b"")
    return Onnx2tfReport(answers.sample.words, not answers.sample.whole, origin, formats)


def _format_report(verdict: Verdict, target: Path, bound: Bound) -> FormatReport:
    content = verdict.made.content or b""
    return FormatReport(
        file=None if verdict.failure else target.name,
        failure=verdict.failure,
        bytes=len(content),
        sha256=sha256(content),
        seconds=round(verdict.made.seconds, 1),
        float_tensors=verdict.float_tensors,
        bound=bound,
        kernels={
            kernels.value: KernelReport(run.kernels, run.closeness)
            for kernels, run in verdict.runs.items()
        },
    )
