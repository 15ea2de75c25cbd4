"""The routes of `convert` that are not our own writer's: ONNX, and TensorFlow by onnx2tf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.extras import require
from qlvit_edge.errors import ConversionError, GateError

if TYPE_CHECKING:
    from qlvit_edge.converters.convert import ProofImages
    from qlvit_edge.training.checkpoint import Checkpoint


_OPTIONS_OF = {
    "softmax": "native",
    "max_drop": "native",
    "tensor_images": "native",
    "accuracy_images": "native",
    "target": "native",
    "tpu_share": "native",
    "no_compile": "native",
    "compiler_timeout": "native",
    "mixed": "native",
    "python": "onnx2tf",
}


def require_options_of_route(context: click.Context, route: str) -> None:
    """Refuse options given on the command line that mean nothing to the route.

    Raises:
        ConversionError: naming the option and its route.
    """
    for name, owner in _OPTIONS_OF.items():
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and owner != route:
            option = f"--{name.replace('_', '-')}"
            raise ConversionError(
                option, f"belongs to --route {owner}, not {route}", f"leave {option} away"
            )


def convert_by_route(
    route: str,
    run: str,
    out: Path,
    data: Path | None,
    split_path: Path | None,
    count: int,
    *,
    python: Path | None,
    report_path: Path | None,
) -> None:
    """Do what `convert` does with `--route onnx` or `--route onnx2tf`.

    Args:
        route: `onnx` or `onnx2tf`.
        run: run folder or bundled name.
        out: file, or folder, to write.
        data: folder of images; default: what the run records.
        split_path: split whose test side is used; default: the run's.
        count: most test images to judge by.
        python: of the environment with onnx2tf.
        report_path: JSON file to write.

    Raises:
        QLViTEdgeError: see `to_onnx` and `to_onnx2tf`.
        GateError: onnx2tf made a file that is not this network.
    """
    require("onnx", "onnx", "onnxruntime")
    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.converters.convert import proof_images
    from qlvit_edge.files import ensure_writable, require_no_folder, write_json
    from qlvit_edge.training.checkpoint import load_checkpoint

    for target in filter(None, (out if route == "onnx" else None, report_path)):
        require_no_folder(target)
        ensure_writable(target.absolute().parent)
    checkpoint = load_checkpoint(resolve_run(run))
    proof = proof_images(checkpoint, data, split_path, is_bundled(run))
    if route == "onnx":
        report = to_onnx(checkpoint, proof, count, out)
    else:
        report = to_onnx2tf(checkpoint, proof, count, out, python=python, data=data)
    if report_path is not None:
        write_json(report_path, report)
    if route == "onnx2tf":
        _require_all_written(report, out)


def to_onnx(checkpoint: Checkpoint, proof: ProofImages, count: int, out: Path) -> dict[str, Any]:
    """Write the ONNX file if ONNX Runtime computes PyTorch's logits with it.

    Returns:
        The report, ready for `json.dumps`.

    Raises:
        ConversionError: it cannot be exported, or computes something else.
    """
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.routes.closeness import FLOAT32, compare_logits
    from qlvit_edge.converters.routes.onnx import OPSET, export_onnx
    from qlvit_edge.converters.routes.ort import onnx_logits
    from qlvit_edge.converters.routes.shown import show
    from qlvit_edge.files import sha256, write_bytes

    content = export_onnx(checkpoint)
    shown = show(checkpoint, proof, count, progress_bar)
    with progress_bar("running ONNX Runtime", len(shown.views)) as advance:
        logits = onnx_logits(content, shown.views, advance)
    closeness = compare_logits(shown.logits, logits)
    if not closeness.within(FLOAT32):
        raise ConversionError(
            out,
            f"not written: ONNX Runtime does not give PyTorch's logits ({closeness.words})",
            "report this as a bug",
        )
    write_bytes(out, content)
    click.echo(f"ONNX opset {OPSET}, accepted by the ONNX checker")
    click.echo(f"ONNX Runtime against PyTorch on {shown.origin}: {closeness.words}")
    click.echo("For research use only, not for diagnosis.")
    click.echo(f"wrote {out}: {len(content) / 1024:.0f} KiB")
    return {
        "route": "onnx",
        "images": shown.origin,
        "reduced_proof": shown.reduced,
        "bytes": len(content),
        "sha256": sha256(content),
        "closeness": vars(closeness),
        "bound": vars(FLOAT32),
        "accuracy": {
            "pytorch": float((shown.logits.argmax(1) == shown.labels).mean()),
            "onnxruntime": float((logits.argmax(1) == shown.labels).mean()),
        },
    }


def to_onnx2tf(
    checkpoint: Checkpoint,
    proof: ProofImages,
    count: int,
    out: Path,
    *,
    python: Path | None,
    data: Path | None,
) -> dict[str, Any]:
    """Write the .tflite files of onnx2tf and TensorFlow that compute the network's logits.

    Returns:
        The report, ready for `json.dumps`.

    Raises:
        ConversionError: the other tools failed.
        MissingExtraError: there is no environment with them.
    """
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.routes.environment import find_python
    from qlvit_edge.converters.routes.judging import judge
    from qlvit_edge.converters.routes.onnx2tf import BOUNDS, calibration_views, make_files
    from qlvit_edge.converters.routes.shown import show
    from qlvit_edge.files import ensure_writable, sha256, write_bytes

    interpreter = find_python(python)
    ensure_writable(out)
    name = checkpoint.folder.resolve().name
    views, origin = calibration_views(checkpoint, lambda: calibration_of(checkpoint), data)
    shown = show(checkpoint, proof, count, progress_bar)
    with progress_bar("running onnx2tf and TensorFlow", 1) as advance:
        files = make_files(checkpoint, interpreter, views, out / f"{name}-onnx2tf.log")
        advance()
    formats: dict[str, Any] = {}
    for kind, made in files.items():
        with progress_bar(f"judging {kind}", 3) as advance:
            judged = judge(kind, made, BOUNDS[kind], shown, advance)
        target = out / f"{name}-{kind}.tflite"
        formats[kind] = {
            "file": None if judged.failure else target.name,
            "failure": judged.failure,
            "bytes": len(made.content or b""),
            "sha256": sha256(made.content or b""),
            "seconds": round(made.seconds, 1),
            "float_tensors": judged.float_tensors,
            "bound": vars(BOUNDS[kind]),
            "kernels": {
                kernels.value: {
                    "used": ran.kernels,
                    "closeness": None if ran.closeness is None else vars(ran.closeness),
                }
                for kernels, ran in judged.runs.items()
            },
        }
        if judged.failure or made.content is None:
            click.echo(f"{kind}: refused, not written: {judged.failure}")
            continue
        for kernels, ran in judged.runs.items():
            found = ran.kernels if ran.closeness is None else ran.closeness.words
            click.echo(f"{kind}: {kernels.value} kernels: {found}")
        write_bytes(target, made.content)
        click.echo(f"wrote {target}: {len(made.content) / 1024:.0f} KiB")
    click.echo(f"judged on {shown.origin}; full-integer ranges from {origin}")
    click.echo("For research use only, not for diagnosis.")
    return {
        "route": "onnx2tf",
        "images": shown.origin,
        "reduced_proof": shown.reduced,
        "calibration": origin,
        "formats": formats,
    }


def _require_all_written(report: dict[str, Any], out: Path) -> None:
    """End with exit code 1 where a format was refused.

    Raises:
        GateError: naming them.
    """
    refused = [kind for kind, found in report["formats"].items() if found["failure"]]
    if refused:
        raise GateError(
            out,
            f"{' and '.join(refused)} not written: what the stock path makes is not this network",
            "use the files that were written, or the native route",
        )
