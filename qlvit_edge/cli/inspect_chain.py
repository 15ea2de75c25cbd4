"""What `inspect` shows of a chain: its segments, and what crosses between them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qlvit_edge.cli.console import plain
from qlvit_edge.modelfile.chain_figures import chain_figures
from qlvit_edge.modelfile.edgetpu_forecast import FORECAST_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.table import Table

    from qlvit_edge.modelfile.chain import Chain

_KIB = 1024


def summarise_chain(chain: Chain) -> dict[str, Any]:
    """Return a chain without its weights as plain values, ready for `json.dumps`.

    The keys are those of `chain.json`, the model's golden pairs counted and not listed. All
    figures are counted in the segments' files; `mapped_operators` of a segment are those that
    break no rule, and `contradictions` is where `chain.json` says otherwise.
    """
    figures = chain_figures(chain)
    values: dict[str, Any] = chain.description.model_dump(mode="json")
    values["model"]["golden_pairs"] = len(values["model"].pop("golden"))
    for segment, counted in zip(values["segments"], figures.segments, strict=True):
        segment |= asdict(counted)
    counted_values = asdict(figures)
    del counted_values["segments"]
    return values | counted_values


def print_chain(console: Console, found: dict[str, Any], table: Callable[..., Table]) -> None:
    """Print a chain, as `summarise_chain` gives it.

    Args:
        console: where to print.
        found: the chain.
        table: makes a plain table from a title and column headings.
    """
    rows = table(
        "Segments", "file", "device", "operators>", "keep the rules>", "MACs>", "parameters>",
        "in>", "out>", "compiled",
    )  # fmt: skip
    for segment in found["segments"]:
        rows.add_row(
            segment["file"],
            segment["device"],
            str(segment["operators"]),
            str(segment["mapped_operators"]),
            f"{segment['macs']:,}",
            f"{segment['parameter_bytes'] / _KIB:.0f} KiB",
            f"{segment['input_bytes']:,} B",
            f"{segment['output_bytes']:,} B",
            segment["compiled"] or "no",
        )
    console.print(rows)
    overview = table("Chain", "property", "value")
    overview.add_row(
        "model", plain(f"{found['model']['name']}: {', '.join(found['model']['labels'])}")
    )
    overview.add_row("host round trips", str(found["round_trips"]))
    overview.add_row("MACs on the Edge TPU", f"{found['tpu_macs_share']:.1%}")
    overview.add_row("bytes to and from it", f"{found['border_bytes']:,} an inference")
    left = found["moved_to_cpu"]
    overview.add_row("left to the CPU to save round trips", f"{len(left)} operators")
    console.print(overview)
    for finding in found["contradictions"]:
        text = f"! chain.json is wrong: {plain(finding)}"
        console.print(text, style="red", markup=False, highlight=False)
    console.print(f"! {FORECAST_ONLY}", style="yellow", markup=False, highlight=False)
