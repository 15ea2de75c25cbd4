"""`qlvit-edge convert`: a trained and calibrated run in, a proven integer .tflite out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import table_console
from qlvit_edge.cli.extras import require

if TYPE_CHECKING:
    from qlvit_edge.converters.convert import Conversion
    from qlvit_edge.converters.idioms.numerics import Int8


@click.command("convert")
@click.argument("run")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write: .tflite, or .onnx; for --route onnx2tf a folder.",
)
@click.option(
    "--route",
    type=click.Choice(["native", "onnx", "onnx2tf"]),
    default="native",
    show_default=True,
    help="Our own integer file, an ONNX file, or TensorFlow's files by onnx2tf.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="Python of the environment with onnx2tf  [default: $QLVIT_EDGE_ONNX2TF_PYTHON or "
    ".venv-onnx2tf here]",
)
@click.option(
    "--target",
    type=click.Choice(["cpu", "edgetpu"]),
    default="cpu",
    show_default=True,
    help="One file for CPUs, or a chain of segments for an Edge TPU and the CPU.",
)
@click.option(
    "--tpu-share",
    type=click.FloatRange(0, 100),
    default=85,
    show_default=True,
    metavar="PERCENT",
    help="Edge TPU: MACs that must stay on it; above that, round trips are saved.",
)
@click.option("--no-compile", is_flag=True, help="Edge TPU: do not call edgetpu_compiler.")
@click.option(
    "--compiler-timeout",
    type=click.IntRange(1),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="Edge TPU: how long edgetpu_compiler may take.",
)
@click.option(
    "--softmax",
    type=click.Choice(["fast", "exact"]),
    default="fast",
    show_default=True,
    help="Keep 8 levels of the 4-bit log2 code, or all 16.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    default=0.5,
    show_default=True,
    help="Accuracy that integers may cost, in points (3 times that for one class).",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of images for the proof  [default: what the run records]",
)
@click.option(
    "--split",
    "split_path",
    type=click.Path(path_type=Path),
    help="Split whose test side is the proof  [default: the run's]",
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Test images that are compared with the integer reference (other routes: PyTorch).",
)
@click.option(
    "--tensor-images",
    type=click.IntRange(1),
    help="Of those, compared at every tensor, not the logits alone  [default: all; above 500 "
    "MMAC 8]",
)
@click.option(
    "--accuracy-images",
    type=click.IntRange(1),
    help="Test images that accuracy is judged on  [default: all; above 500 MMAC as --images]",
)
@click.option(
    "--mixed",
    type=click.IntRange(1),
    metavar="N",
    help="Keep the activations of the N layers that cost most in int16: closer, and slower.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the proof as JSON.")
@click.pass_context
def command(
    context: click.Context,
    run: str,
    out: Path,
    route: str,
    python: Path | None,
    target: str,
    tpu_share: float,
    no_compile: bool,
    compiler_timeout: int,
    softmax: str,
    max_drop: float,
    data: Path | None,
    split_path: Path | None,
    images: int,
    tensor_images: int | None,
    accuracy_images: int | None,
    mixed: int | None,
    report: Path | None,
) -> None:
    """Convert the trained network RUN (a run folder or a bundled name) and prove the result.

    The proof: every tensor an integer, builtin operators only, every tensor equal to the
    NumPy reference on the reference kernels, accuracy within --max-drop. A file that fails
    is not written. Files of the other routes are held against PyTorch's logits. A chain
    for an Edge TPU goes through the same proof, and must then equal its uncut graph.
    --mixed measures the layers as `sensitivity` does, lifts the worst to int16 and says what
    that costs in time; the proof is the same.

    \b
    Example:
      qlvit-edge convert runs/wbc --out wbc.tflite --report proof.json
      qlvit-edge convert runs/wbc --out wbc.tflite --mixed 3
      qlvit-edge convert runs/wbc --out wbc.chain --target edgetpu
      qlvit-edge convert runs/wbc --out wbc.onnx --route onnx
      qlvit-edge convert runs/wbc --out stock/ --route onnx2tf --python .venv-onnx2tf/bin/python
    """
    require("convert", "torch", "safetensors")
    from qlvit_edge.cli.convert_routes import convert_by_route, require_options_of_route

    require_options_of_route(context, route)
    if route != "native":
        convert_by_route(
            route, run, out, data, split_path, images, python=python, report_path=report
        )
        return
    from typing import cast

    from qlvit_edge.cli.convert_edgetpu import require_options_of_target

    require_options_of_target(context, target)
    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.converters.convert import Extent, convert, proof_images
    from qlvit_edge.converters.lower import require_lowerable
    from qlvit_edge.converters.prove import check_budget
    from qlvit_edge.errors import AccuracyBudgetError
    from qlvit_edge.files import ensure_writable, require_no_folder, write_bytes, write_json
    from qlvit_edge.integer.log2_softmax import Form
    from qlvit_edge.training.checkpoint import load_checkpoint

    for path in filter(None, (out, report)):
        require_no_folder(path)
        ensure_writable(path.absolute().parent)
    checkpoint = load_checkpoint(resolve_run(run))
    proof = proof_images(checkpoint, data, split_path, is_bundled(run))
    extent = Extent(images, tensor_images, accuracy_images)
    form = cast("Form", softmax)
    lifting = None
    if mixed is not None:
        from qlvit_edge.cli.convert_mixed import lift_layers

        lifting = lift_layers(checkpoint, form, data, split_path, mixed, is_bundled(run))
    graph = None if lifting is None else lifting.lifted.graph
    require_lowerable(checkpoint.network)
    conversion = convert(
        checkpoint,
        calibration_of(checkpoint),
        form,
        proof,
        extent,
        progress_bar,
        _numerics(target),
        graph,
    )
    failed: AccuracyBudgetError | None = None
    try:
        check_budget(conversion.accuracies, max_drop, out)
    except AccuracyBudgetError as error:
        failed = error
    _print(conversion)
    model, figures = conversion.model, conversion.report
    if lifting is not None:
        from qlvit_edge.cli.convert_mixed import report_lifting

        figures = {**figures, "mixed": report_lifting(lifting, conversion.model)}
    if target == "edgetpu" and failed is None:
        from qlvit_edge.cli.convert_edgetpu import print_chain, to_chain
        from qlvit_edge.converters.edgetpu.compiler import find_compiler

        model, about_chain = to_chain(
            conversion,
            smallest_share=tpu_share / 100,
            compiler=None if no_compile else find_compiler(),
            timeout=compiler_timeout,
            progress=progress_bar,
        )
        figures = {**figures, "edgetpu": about_chain}
        print_chain(about_chain)
    if failed is not None:
        from qlvit_edge.cli.convert_blame import blame

        figures = {**figures, "blame": blame(checkpoint, form, conversion.views, mixed)}
    if report is not None:
        write_json(report, {**figures, "max_drop": max_drop, "passed": failed is None})
    if failed is not None:
        raise failed
    write_bytes(out, model)
    click.echo(f"wrote {out}: {len(model) / 1024:.0f} KiB")


def _numerics(target: str) -> type[Int8]:
    """Return the arithmetic in the operators of the target."""
    from qlvit_edge.converters.idioms.numerics import EdgeTpu, Int8

    return EdgeTpu if target == "edgetpu" else Int8


def _print(conversion: Conversion) -> None:
    from rich.table import Table

    from qlvit_edge.data.checks import note_on

    report: dict[str, Any] = conversion.report
    equality, kernels = report["equality"], report["default_kernels"]
    accuracy, reference = report["accuracy"], report["reference_accuracy"]
    table = Table(title="Proof (reduced proof)" if report["reduced_proof"] else "Proof")
    table.add_column("claim")
    table.add_column("finding")
    table.add_row("proved on", f"{accuracy['images']} images, {report['proof_images']}")
    table.add_row("every tensor an integer", f"{report['tensors']} of {report['tensors']}")
    table.add_row("builtin operators only", f"{report['operators']} of {report['operators']}")
    equal = f"{equality['tensors']} tensors, byte for byte, on {equality['at_every_tensor']} images"
    if equality["at_every_tensor"] < equality["images"]:
        equal += f"; the logits on {equality['images']}"
    table.add_row("equal to the integer reference", equal)
    table.add_row(
        "on the default kernels",
        f"{kernels['kernels']}; {kernels['changed']:.2%} of the logits differ, by at most "
        f"{kernels['largest']}; {kernels['agreement']:.1%} same class",
    )
    table.add_row(
        "accuracy",
        f"float {accuracy['float_accuracy']:.2%}, file {accuracy['file_accuracy']:.2%} "
        f"({accuracy['drop_points']:+.2f} points lost), {accuracy['agreement']:.2%} same class",
    )
    table.add_row(
        f"accuracy on {reference['images']} of them",
        f"float {reference['float']:.2%}, reference {reference['reference']:.2%}, "
        f"file {reference['file']:.2%}",
    )
    table.add_row("golden pairs inside", str(report["golden_pairs"]))
    table_console().print(table)
    if report["unusual_images"]:
        click.echo(note_on(report["unusual_images"]))
    click.echo("For research use only, not for diagnosis.")
