"""What `inspect` shows of a chain: its segments, and what crosses between them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from qlvit_edge.cli.console import plain
from qlvit_edge.modelfile.edgetpu_forecast import FORECAST_ONLY
from qlvit_edge.modelfile.summary import metadata_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from qlvit_edge.modelfile.chain import Chain
    from qlvit_edge.modelfile.chain_figures import ChainFigures

_KIB = 1024


def chain_values(chain: Chain, figures: ChainFigures) -> dict[str, object]:
    """Return a chain without its weights for JSON.

    The keys are those of `chain.json`, the model's golden pairs counted and not listed. All
    figures are counted in the segments' files; `mapped_operators` of a segment are those that
    break no rule, and `contradictions` is where `chain.json` says otherwise.
    """
    description = chain.description
    segments = zip(description.segments, figures.segments, strict=True)
    return {
        **description.model_dump(mode="json"),
        **asdict(figures),
        "model": metadata_values(description.model),
        "segments": [own.model_dump(mode="json") | asdict(counted) for own, counted in segments],
    }


def print_chain(
    console: Console, chain: Chain, figures: ChainFigures, table: Callable[..., Table]
) -> None:
    """Print a chain.

    Args:
        console: where to print.
        chain: the chain.
        figures: counted in its files.
        table: makes a plain table from a title and column headings.
    """
    rows = table(
        "Segments", "file", "device", "operators>", "keep the rules>", "MACs>", "parameters>",
        "in>", "out>", "compiled",
    )  # fmt: skip
    for segment, counted in zip(chain.description.segments, figures.segments, strict=True):
        rows.add_row(
            segment.file,
            segment.device,
            str(counted.operators),
            str(counted.mapped_operators),
            f"{counted.macs:,}",
            f"{counted.parameter_bytes / _KIB:.0f} KiB",
            f"{counted.input_bytes:,} B",
            f"{counted.output_bytes:,} B",
            segment.compiled or "no",
        )
    console.print(rows)
    overview = table("Chain", "property", "value")
    model = chain.description.model
    overview.add_row("model", plain(f"{model.name}: {', '.join(model.labels)}"))
    overview.add_row("host round trips", str(figures.round_trips))
    overview.add_row("MACs on the Edge TPU", f"{figures.tpu_macs_share:.1%}")
    overview.add_row("bytes to and from it", f"{figures.border_bytes:,} per inference")
    left = figures.moved_to_cpu
    overview.add_row("left to the CPU to save round trips", f"{len(left)} operators")
    console.print(overview)
    for finding in figures.contradictions:
        text = f"! chain.json is wrong: {plain(finding)}"
        console.print(text, style="red", markup=False, highlight=False)
    console.print(f"! {FORECAST_ONLY}", style="yellow", markup=False, highlight=False)
