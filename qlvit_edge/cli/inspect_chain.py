"""What `inspect` shows of a chain: its segments, and what crosses between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qlvit_edge.cli.inspect_model import file_table, metadata_table, say
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.edgetpu_forecast import FORECAST_ONLY
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from qlvit_edge.modelfile.chain import Chain
    from qlvit_edge.modelfile.chain_figures import ChainFigures

_KIB = 1024


def print_chain(
    console: Console,
    chain: Chain,
    figures: ChainFigures,
    path: Path,
    content: bytes,
    *,
    summary: bool = False,
) -> None:
    """Print a chain: the answer, then what it rests on, then where its description is wrong.

    Args:
        console: where to print.
        chain: the chain.
        figures: counted in its files.
        path: the archive.
        content: what it holds.
        summary: leave out the list of segments.
    """
    say(console, f"{figures.answer[:1].upper()}{figures.answer[1:]}.", "bold")
    for finding in figures.contradictions:
        say(console, f"! chain.json is wrong: {finding}", "red")
    say(console, f"! {FORECAST_ONLY}", "yellow")
    console.print()
    rows = file_table(
        "Segments", "file", "device", "operators>", "keep the rules>", "MACs>", "parameters>",
        "in>", "out>", "compiled, as claimed",
    )  # fmt: skip
    for segment, found in zip(chain.description.segments, figures.segments, strict=True):
        rows.add_row(
            segment.file,
            segment.device,
            found.operators,
            found.mapped_operators,
            f"{found.macs:,}",
            f"{found.parameter_bytes / _KIB:.0f} KiB",
            f"{found.input_bytes:,} B",
            f"{found.output_bytes:,} B",
            segment.compiled or "no",
        )
    if not summary:
        console.print(rows)
    overview = file_table("Chain", "property", "value")
    overview.add_row("file", path)
    overview.add_row("SHA-256", sha256(content))
    overview.add_row("size", f"{len(content):,} bytes")
    overview.add_row("operators", f"{figures.operators:,}")
    overview.add_row("MACs", f"{figures.macs:,} per inference")
    overview.add_row("MACs on the Edge TPU", f"{figures.tpu_macs_share:.1%}")
    overview.add_row("host round trips", figures.round_trips)
    overview.add_row("bytes to and from it", f"{figures.border_bytes:,} per inference")
    left = counted(len(figures.moved_to_cpu), "operator")
    overview.add_row("left to the CPU to save round trips", left)
    console.print(overview)
    console.print(metadata_table(chain.description.model))
