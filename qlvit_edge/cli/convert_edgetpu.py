"""What `convert --target edgetpu` does beyond the proof that every conversion goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.errors import ConversionError
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.converters.edgetpu.compiler import CompilerLog
    from qlvit_edge.converters.edgetpu.report import ChainReport

_KIB = 1024
_OWN_OPTIONS = ("tpu_share", "compiler_timeout", "no_compile")


def require_options_of_target(context: click.Context, target: str) -> None:
    """Refuse options given on the command line that mean nothing to the target.

    Raises:
        ConversionError: naming the option.
    """
    for name in _OWN_OPTIONS:
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and target != "edgetpu":
            option = f"--{name.replace('_', '-')}"
            raise ConversionError(
                option, "belongs to --target edgetpu", f"add that, or leave {option} out"
            )
    source = context.get_parameter_source("int16_layers")
    if source is click.core.ParameterSource.COMMANDLINE and target == "edgetpu":
        raise ConversionError(
            "--int16-layers",
            "makes int16 tensors, which an Edge TPU does not run",
            "leave --int16-layers out",
        )


def print_chain(report: ChainReport) -> None:
    """Print how a chain was cut, and its proof."""
    table = plain_table("Edge TPU", "what", "finding")
    cut = report.cut
    segments = cut.segments
    on_tpu = sum(segment.device == "tpu" for segment in segments)
    table.add_row("segments", f"{on_tpu} for the Edge TPU, {len(segments) - on_tpu} for the CPU")
    full = report.all_macs_on_tpu
    table.add_row(
        "host round trips",
        f"{cut.round_trips}; {full.round_trips} with all convolutions on the Edge TPU "
        f"({full.tpu_macs_share:.1%} of the MACs)",
    )
    table.add_row("MACs in its segments", f"{cut.tpu_macs_share:.1%}")
    table.add_row("bytes to and from it", f"{cut.border_bytes / _KIB:.0f} KiB per inference")
    table.add_row(
        "parameters on it",
        f"{cut.tpu_parameter_bytes / _KIB:.0f} KiB, {cut.parameters} on chip",
    )
    equality = report.equality
    table.add_row(
        "chain equal to the whole",
        f"{counted(equality.borders, 'tensor')}, byte for byte, on "
        f"{counted(equality.reference_images, 'image')} "
        "(reference and default kernels)",
    )
    table.add_row(
        "on the default kernels",
        f"the outputs, on {counted(equality.default_images, 'image')}; {equality.default_kernels}",
    )
    table_console().print(table)
    _print_compiler(cut.compiler)


def _print_compiler(log: CompilerLog | None) -> None:
    from qlvit_edge.converters.edgetpu.compiler import MAPPED

    if log is None:
        click.echo(
            "note: segments not compiled: mapping and memory are a forecast from the documented "
            "rules, and this chain runs on CPUs only"
        )
        return
    headings = ("segment", "operators>", "not mapped>", "on chip>", "streamed>")
    table = plain_table(f"edgetpu_compiler {log.version}", *headings)
    reasons: dict[str, int] = {}
    for model in log.models:
        table.add_row(
            model.source.rsplit("/", 1)[-1],
            str(model.operations),
            str(model.unmapped),
            f"{model.cached_bytes / _KIB:.0f} KiB",
            f"{model.streamed_bytes / _KIB:.0f} KiB",
        )
        for row in model.table:
            if row.status != MAPPED:
                key = f"{row.operator}: {row.status}"
                reasons[key] = reasons.get(key, 0) + row.count
    table_console().print(table)
    for reason, count in sorted(reasons.items()):
        left = counted(count, "operator")
        click.echo(f"note: the compiler left {left} to the CPU: {reason}")
