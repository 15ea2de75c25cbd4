"""The routes of `convert` that are not our own writer's: ONNX, and TensorFlow by onnx2tf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.extras import require
from qlvit_edge.errors import ConversionError, GateError

if TYPE_CHECKING:
    from qlvit_edge.converters.routes.report import Onnx2tfReport, OnnxReport


_NATIVE = ("native",)
_LOGITS_ONLY = "logits only: files of this route give no features, so they can have no guard"
_OPTIONS_OF = {
    "softmax": _NATIVE,
    "max_drop": ("native", "onnx2tf"),
    "reference_images": _NATIVE,
    "accuracy_images": _NATIVE,
    "target": _NATIVE,
    "tpu_share": _NATIVE,
    "no_compile": _NATIVE,
    "compiler_timeout": _NATIVE,
    "int16_layers": _NATIVE,
    "python": ("onnx2tf",),
}


def require_options_of_route(context: click.Context, route: str) -> None:
    """Refuse options given on the command line that mean nothing to the route.

    Raises:
        ConversionError: naming the option and its route.
    """
    for name, owners in _OPTIONS_OF.items():
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and route not in owners:
            option = f"--{name.replace('_', '-')}"
            raise ConversionError(
                option,
                f"belongs to --route {' or '.join(owners)}, not {route}",
                f"leave {option} out",
            )


def convert_by_route(
    route: str,
    run: str,
    out: Path,
    data: Path | None,
    split_path: Path | None,
    count: int,
    *,
    max_drop: float,
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
        max_drop: accuracy that 8 bits may cost, in points.
        python: of the environment with onnx2tf.
        report_path: JSON file to write.

    Raises:
        QLViTEdgeError: see `write_onnx` and `write_onnx2tf`.
        GateError: onnx2tf made a file that is not this network.
    """
    require("onnx", "onnx", "onnxruntime")
    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.cli.options import white_level_of
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.proof_images import proof_images
    from qlvit_edge.converters.routes.files import write_onnx, write_onnx2tf
    from qlvit_edge.files import ensure_writable, require_target, write_json
    from qlvit_edge.training.checkpoint import load_checkpoint

    for target in filter(None, (out if route == "onnx" else None, report_path)):
        require_target(target)
        ensure_writable(target.absolute().parent)
    checkpoint = load_checkpoint(resolve_run(run))
    white_level_of(checkpoint.run)
    proof = proof_images(checkpoint, data, split_path, is_bundled(run), progress_bar)
    if route == "onnx":
        report = write_onnx(checkpoint, proof, count, out, progress_bar)
        _print_onnx(report, out)
        if report_path is not None:
            write_json(report_path, report.as_dict())
        next_step(
            f"qlvit-edge compare {shell_word(run)} --routes native,onnx", "both files side by side"
        )
        return
    files = write_onnx2tf(
        checkpoint,
        lambda: calibration_of(checkpoint),
        proof,
        count,
        out,
        max_drop=max_drop,
        python=python,
        data=data,
        progress=progress_bar,
    )
    _print_onnx2tf(files, out)
    if report_path is not None:
        write_json(report_path, files.as_dict())
    if files.refused:
        raise GateError(
            out,
            f"{' and '.join(files.refused)} not written: what the stock path makes is not this "
            "network",
            "use the files that were written, or the native route",
        )
    next_step(f"qlvit-edge compare {shell_word(run)}", "all routes side by side")


def _print_onnx(report: OnnxReport, out: Path) -> None:
    from qlvit_edge.converters.routes.onnx import OPSET

    click.echo(f"ONNX opset {OPSET}, accepted by the ONNX checker")
    click.echo(f"ONNX Runtime against PyTorch on {report.images}: {report.closeness.words}")
    click.echo(_LOGITS_ONLY)
    click.echo("For research use only, not for diagnosis.")
    click.echo(f"wrote {out}: {report.bytes / 1024:.0f} KiB")


def _print_onnx2tf(report: Onnx2tfReport, out: Path) -> None:
    for kind, found in report.formats.items():
        if found.file is None:
            click.echo(f"{kind}: refused, not written: {found.failure}")
            continue
        for name, kernels in found.kernels.items():
            words = kernels.used if kernels.closeness is None else kernels.closeness.words
            click.echo(f"{kind}: {name} kernels: {words}")
        click.echo(f"wrote {out / found.file}: {found.bytes / 1024:.0f} KiB")
    click.echo(f"judged on {report.images}; full-integer ranges from {report.calibration}")
    click.echo(_LOGITS_ONLY)
    click.echo("For research use only, not for diagnosis.")
