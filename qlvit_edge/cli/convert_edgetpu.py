"""What `convert --target edgetpu` does beyond the proof that every conversion goes through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import table_console
from qlvit_edge.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    from qlvit_edge.converters.convert import Conversion
    from qlvit_edge.converters.edgetpu.compiler import CompilerLog

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
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
                option, "belongs to --target edgetpu", f"add that, or leave {option} away"
            )
    mixed = context.get_parameter_source("mixed") is click.core.ParameterSource.COMMANDLINE
    if mixed and target == "edgetpu":
        raise ConversionError(
            "--mixed", "makes int16 tensors, which an Edge TPU does not run", "leave --mixed away"
        )


def to_chain(
    conversion: Conversion,
    *,
    smallest_share: float,
    compiler: Path | None,
    timeout: int,
    progress: Progress,
) -> tuple[bytes, dict[str, Any]]:
    """Cut a conversion made for the Edge TPU, compile, pack and prove the chain.

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
    from qlvit_edge.converters.edgetpu.chain import (
        chain_report,
        compile_segments,
        cut_graph,
        pack,
        prove_chain,
    )

    with progress("cutting the graph", 1) as advance:
        chain = cut_graph(conversion.graph, smallest_share)
        whole_share = cut_graph(conversion.graph, 1.0).plan if smallest_share < 1 else chain.plan
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
    report = {
        **chain_report(chain, log),
        "all_macs_on_tpu": {"round_trips": whole_share.trips, "tpu_macs_share": whole_share.share},
        "equality": equality,
    }
    return archive, report


def print_chain(report: dict[str, Any]) -> None:
    """Print what `to_chain` reports."""
    from rich.table import Table

    table = Table(title="Edge TPU")
    table.add_column("what")
    table.add_column("finding")
    segments = report["segments"]
    on_tpu = sum(segment["device"] == "tpu" for segment in segments)
    table.add_row("segments", f"{on_tpu} for the Edge TPU, {len(segments) - on_tpu} for the CPU")
    full = report["all_macs_on_tpu"]
    table.add_row(
        "host round trips",
        f"{report['round_trips']}; {full['round_trips']} with all convolutions on the Edge TPU "
        f"({full['tpu_macs_share']:.1%} of the MACs)",
    )
    table.add_row("MACs in its segments", f"{report['tpu_macs_share']:.1%}")
    table.add_row("bytes to and from it", f"{report['border_bytes'] / _KIB:.0f} KiB an inference")
    table.add_row(
        "parameters on it",
        f"{report['tpu_parameter_bytes'] / _KIB:.0f} KiB, {report['parameters']} on chip",
    )
    equality = report["equality"]
    table.add_row(
        "chain equal to the whole",
        f"{equality['borders']} tensors, byte for byte, on {equality['reference_images']} images "
        "(reference kernels)",
    )
    table.add_row(
        "on the default kernels",
        f"other logits on {equality['default_unequal_images']} of "
        f"{equality['default_images']} images; {equality['default_kernels']}",
    )
    table_console().print(table)
    _print_compiler(report["compiler"])


def _print_compiler(found: dict[str, Any] | None) -> None:
    from rich.table import Table

    if found is None:
        click.echo(
            "note: segments not compiled: mapping and memory are a forecast from the documented "
            "rules, and this chain runs on CPUs only"
        )
        return
    table = Table(title=f"edgetpu_compiler {found['version']}")
    for heading in ("segment", "operators", "not mapped", "on chip", "streamed"):
        table.add_column(heading)
    reasons: dict[str, int] = {}
    for model in found["models"]:
        table.add_row(
            model["source"].rsplit("/", 1)[-1],
            str(model["operations"]),
            str(model["unmapped"]),
            f"{model['cached_bytes'] / _KIB:.0f} KiB",
            f"{model['streamed_bytes'] / _KIB:.0f} KiB",
        )
        for row in model["table"]:
            if row["status"] != "Mapped to Edge TPU":
                key = f"{row['operator']}: {row['status']}"
                reasons[key] = reasons.get(key, 0) + row["count"]
    table_console().print(table)
    for reason, count in sorted(reasons.items()):
        click.echo(f"note: the compiler left {count} operators to the CPU: {reason}")
