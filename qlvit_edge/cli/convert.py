"""`qlvit-edge convert`: a trained and calibrated run in, a proven integer .tflite out."""

from __future__ import annotations

from pathlib import Path

import click

from qlvit_edge.choices import INTEGER_SOFTMAXES, ROUTES, TARGETS
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Number, Whole, white_level_option


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
    type=click.Choice(ROUTES),
    default=ROUTES[0],
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
    type=click.Choice(TARGETS),
    default=TARGETS[0],
    show_default=True,
    help="One file for CPUs, or a chain of segments for an Edge TPU and the CPU.",
)
@click.option(
    "--tpu-share",
    type=Number(0, 100),
    default=85,
    show_default=True,
    metavar="PERCENT",
    help="Edge TPU: MACs that must stay on it; above that, round trips are saved.",
)
@click.option("--no-compile", is_flag=True, help="Edge TPU: do not call edgetpu_compiler.")
@click.option(
    "--compiler-timeout",
    type=Whole(1),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="Edge TPU: how long edgetpu_compiler may take.",
)
@click.option(
    "--softmax",
    type=click.Choice(INTEGER_SOFTMAXES),
    default=INTEGER_SOFTMAXES[0],
    show_default=True,
    help="Keep 8 levels of the 4-bit log2 code, or all 16.",
)
@click.option(
    "--max-drop",
    type=Number(0, 100),
    default=0.5,
    show_default=True,
    help="Accuracy that integers may cost, in points (3 times that for one class); a file is "
    "refused where the images show a greater loss, or are fewer than 20.",
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
    type=Whole(1),
    default=200,
    show_default=True,
    help="Test images compared with the integer specification (other routes: with PyTorch).",
)
@click.option(
    "--reference-images",
    type=Whole(1),
    help="Of those, compared on the reference kernels too  [default: all; above 500 MMAC 8]",
)
@click.option(
    "--accuracy-images",
    type=Whole(1),
    help="Test images that accuracy is judged on  [default: all; above 500 MMAC as --images]",
)
@click.option(
    "--int16-layers",
    type=Whole(1),
    metavar="N",
    help="Keep the activations of the N layers that cost most in int16: closer, and slower.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the proof as JSON.")
@click.pass_context
@white_level_option
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
    reference_images: int | None,
    accuracy_images: int | None,
    int16_layers: int | None,
    report: Path | None,
) -> None:
    """Convert the trained network RUN (a run folder or a bundled name) and prove the result.

    The proof: every tensor an integer, builtin operators only, every tensor equal to its
    specification on the default and on the reference kernels, every input the same on x86-64
    and arm64, accuracy within --max-drop. All of it is of the bytes that are written. A file that
    fails is not written: exit code 1 where accuracy is over the budget, or where the images are
    too few to tell. Images that the network was trained on are left out, by content. Files of the
    other routes are held against PyTorch's logits. A chain for an Edge TPU goes through the same
    proof, and must then equal its uncut graph. --int16-layers measures the layers as
    `sensitivity` does, keeps the activations of the worst in int16 and says what that costs in
    time; the proof is the same.

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
            route,
            run,
            out,
            data,
            split_path,
            images,
            max_drop=max_drop,
            python=python,
            report_path=report,
        )
        return
    from typing import cast

    from qlvit_edge.cli.convert_edgetpu import require_options_of_target
    from qlvit_edge.cli.convert_native import ChainOptions, convert_natively
    from qlvit_edge.converters.convert import Extent
    from qlvit_edge.integer.log2_softmax import Form

    require_options_of_target(context, target)
    convert_natively(
        run,
        out,
        data,
        split_path,
        softmax=cast("Form", softmax),
        extent=Extent(images, reference_images, accuracy_images),
        max_drop=max_drop,
        int16_layers=int16_layers,
        chain=(
            ChainOptions(tpu_share / 100, not no_compile, compiler_timeout)
            if target == "edgetpu"
            else None
        ),
        report_path=report,
    )
