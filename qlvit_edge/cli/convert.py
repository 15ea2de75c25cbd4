"""`qlvit-edge convert`: a trained and calibrated run in, a proven integer .tflite out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.convert_proof import print_proof
from qlvit_edge.cli.extras import require

if TYPE_CHECKING:
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
    "--int16-layers",
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
    int16_layers: int | None,
    report: Path | None,
) -> None:
    """Convert the trained network RUN (a run folder or a bundled name) and prove the result.

    The proof: every tensor an integer, builtin operators only, every tensor equal to the
    NumPy reference on the reference kernels, accuracy within --max-drop. A file that fails
    is not written. Files of the other routes are held against PyTorch's logits. A chain
    for an Edge TPU goes through the same proof, and must then equal its uncut graph.
    --int16-layers measures the layers as `sensitivity` does, keeps the activations of the worst
    in int16 and says what that costs in time; the proof is the same.

    \b
    Example:
      qlvit-edge convert runs/wbc --out wbc.tflite --report proof.json
      qlvit-edge convert runs/wbc --out wbc.tflite --int16-layers 3
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
    from qlvit_edge.converters.convert import Extent, convert
    from qlvit_edge.converters.lower import require_lowerable
    from qlvit_edge.converters.proof_images import proof_images
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
    choice = None
    if int16_layers is not None:
        from qlvit_edge.calibration.int16_choice import choose_for_run

        choice = choose_for_run(
            checkpoint, form, data, split_path, int16_layers, is_bundled(run), progress_bar
        )
    graph = None if choice is None else choice.int16.graph
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
    print_proof(conversion.report)
    model, sections = conversion.model, conversion.report.as_dict()
    if choice is not None:
        from qlvit_edge.calibration.int16_report import report_int16
        from qlvit_edge.cli.convert_int16 import print_int16

        found = report_int16(choice, conversion.model, progress_bar)
        print_int16(found)
        sections["int16_layers"] = asdict(found)
    if target == "edgetpu" and failed is None:
        from qlvit_edge.cli.convert_edgetpu import print_chain
        from qlvit_edge.converters.edgetpu.chain import make_chain
        from qlvit_edge.converters.edgetpu.compiler import find_compiler

        model, chain = make_chain(
            conversion,
            smallest_share=tpu_share / 100,
            compiler=None if no_compile else find_compiler(),
            timeout=compiler_timeout,
            progress=progress_bar,
        )
        print_chain(chain)
        sections["edgetpu"] = chain.as_dict()
    if failed is not None:
        from qlvit_edge.calibration.blame import measure_blame
        from qlvit_edge.cli.convert_blame import print_blame

        blame = measure_blame(checkpoint, form, conversion.views, progress_bar)
        print_blame(blame, checkpoint.folder, int16_layers)
        sections["blame"] = [asdict(layer) for layer in blame.layers]
    if report is not None:
        write_json(report, {**sections, "max_drop": max_drop, "passed": failed is None})
    if failed is not None:
        raise failed
    write_bytes(out, model)
    click.echo(f"wrote {out}: {len(model) / 1024:.0f} KiB")


def _numerics(target: str) -> type[Int8]:
    """Return the arithmetic in the operators of the target."""
    from qlvit_edge.converters.idioms.numerics import EdgeTpu, Int8

    return EdgeTpu if target == "edgetpu" else Int8
