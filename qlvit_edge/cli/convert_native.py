"""The native route of `convert`: our own integer file, or a chain for an Edge TPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.progress import progress_bar

if TYPE_CHECKING:
    from qlvit_edge.calibration.int16_choice import Int16Choice
    from qlvit_edge.converters.convert import Conversion, Extent
    from qlvit_edge.integer.log2_softmax import Form
    from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class ChainOptions:
    """How a chain for an Edge TPU is made.

    Attributes:
        smallest_share: share of the MACs that stays on the Edge TPU, 0 to 1.
        compile: call `edgetpu_compiler` where it is.
        timeout: seconds it may take.
    """

    smallest_share: float
    compile: bool
    timeout: int


def convert_natively(
    run: str,
    out: Path,
    data: Path | None,
    split_path: Path | None,
    *,
    softmax: Form,
    extent: Extent,
    max_drop: float,
    int16_layers: int | None,
    chain: ChainOptions | None,
    report_path: Path | None,
) -> None:
    """Convert, prove and print; write the file if it passes, and the report in any case.

    Args:
        run: run folder or bundled name.
        out: the file.
        data: folder of images; None: what the run records.
        split_path: split whose test side is the proof; None: the run's.
        softmax: form of the integer softmax.
        extent: how many images the proof is made on.
        max_drop: accuracy that integers may cost, in points.
        int16_layers: how many layers to keep in int16; None for none.
        chain: to make a chain for an Edge TPU; None: a file for CPUs.
        report_path: JSON file to write.

    Raises:
        QLViTEdgeError: see `convert`, `choose_for_run` and `make_chain`.
        AccuracyBudgetError: integers cost too much; nothing but the report is written.
    """
    from qlvit_edge.bundled import is_bundled, resolve_run
    from qlvit_edge.calibration.file import calibration_of
    from qlvit_edge.calibration.guard import guard_of
    from qlvit_edge.cli.convert_proof import print_proof
    from qlvit_edge.cli.options import white_level_of
    from qlvit_edge.converters.convert import convert
    from qlvit_edge.converters.idioms.numerics import EdgeTpu, Int8
    from qlvit_edge.converters.lower import require_lowerable
    from qlvit_edge.converters.proof.accuracy import judge_budget
    from qlvit_edge.converters.proof_images import proof_images
    from qlvit_edge.files import ensure_writable, require_target, sha256, write_bytes, write_json
    from qlvit_edge.training.checkpoint import load_checkpoint

    for path in filter(None, (out, report_path)):
        require_target(path)
        ensure_writable(path.absolute().parent)
    checkpoint, bundled = load_checkpoint(resolve_run(run)), is_bundled(run)
    white_level_of(checkpoint.run)
    proof = proof_images(checkpoint, data, split_path, bundled, progress_bar)
    choice = _choose_int16(checkpoint, softmax, data, split_path, int16_layers, bundled)
    require_lowerable(checkpoint.network)
    calibration = calibration_of(checkpoint)
    guard = guard_of(checkpoint)
    conversion = convert(
        checkpoint,
        calibration,
        softmax,
        proof,
        extent,
        progress_bar,
        Int8 if chain is None else EdgeTpu,
        None if choice is None else choice.int16.graph,
        guard,
    )
    verdict = judge_budget(
        conversion.report.accuracy, max_drop, every_class=proof.every.shows_every_class
    )
    print_proof(conversion.report, verdict, checkpoint.run.network.channels)
    model, report = conversion.model, conversion.report.as_dict()
    if choice is not None:
        report["int16_layers"] = _report_int16(checkpoint, choice, conversion)
    if verdict.outcome == "over the budget":
        report["blame"] = _report_blame(checkpoint, softmax, conversion, int16_layers)
    elif verdict.passed and chain is not None:
        model, report["edgetpu"] = _make_chain(conversion, chain)
        report |= {"bytes": len(model), "sha256": sha256(model)}
    if report_path is not None:
        write_json(report_path, {**report, "budget": asdict(verdict), "passed": verdict.passed})
    verdict.require(out)
    write_bytes(out, model)
    if guard is None:
        click.echo(f"no guard: {checkpoint.folder} has no guard.json; every probable answer counts")
    click.echo(f"wrote {out}: {len(model) / 1024:.0f} KiB")
    next_step(
        f"qlvit-edge validate {shell_word(out)} --data FOLDER --out report/",
        "measure it on the device",
    )


def _choose_int16(
    checkpoint: Checkpoint,
    softmax: Form,
    data: Path | None,
    split_path: Path | None,
    count: int | None,
    bundled: bool,
) -> Int16Choice | None:
    if count is None:
        return None
    from qlvit_edge.calibration.int16_choice import choose_for_run

    return choose_for_run(checkpoint, softmax, data, split_path, count, bundled, progress_bar)


def _report_int16(
    checkpoint: Checkpoint, choice: Int16Choice, conversion: Conversion
) -> dict[str, object]:
    from qlvit_edge.calibration.int16_report import report_int16
    from qlvit_edge.cli.convert_int16 import print_int16

    found = report_int16(checkpoint, choice, conversion.graph, conversion.model, progress_bar)
    print_int16(found)
    return asdict(found)


def _make_chain(conversion: Conversion, options: ChainOptions) -> tuple[bytes, dict[str, object]]:
    """Return the archive, and its report for JSON."""
    from qlvit_edge.cli.convert_edgetpu import print_chain
    from qlvit_edge.converters.edgetpu.chain import make_chain
    from qlvit_edge.converters.edgetpu.compiler import find_compiler

    archive, found = make_chain(
        conversion,
        smallest_share=options.smallest_share,
        compiler=find_compiler() if options.compile else None,
        timeout=options.timeout,
        progress=progress_bar,
    )
    print_chain(found)
    return archive, found.as_dict()


def _report_blame(
    checkpoint: Checkpoint, softmax: Form, conversion: Conversion, int16_layers: int | None
) -> list[dict[str, object]]:
    from qlvit_edge.calibration.blame import measure_blame
    from qlvit_edge.cli.convert_blame import print_blame

    found = measure_blame(checkpoint, softmax, conversion.views, progress_bar)
    print_blame(found, checkpoint.folder, int16_layers)
    return [asdict(layer) for layer in found.layers]
