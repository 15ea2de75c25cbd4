"""The tables of `inspect`: layers, operators, the file, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qlvit_edge.cli.console import plain_table
from qlvit_edge.modelfile.summary import METADATA_CLAIMS, metadata_values
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from rich.console import Console

    from qlvit_edge.cli.plain_table import PlainTable
    from qlvit_edge.modelfile.confusion import Confusion
    from qlvit_edge.modelfile.guard import Guard
    from qlvit_edge.modelfile.metadata import ModelMetadata
    from qlvit_edge.modelfile.summary import GraphSummary, ModelSummary, TensorSummary


def print_model(
    console: Console, found: ModelSummary, path: Path, digest: str, kernels: str, *, summary: bool
) -> None:
    """Print what a model file holds, and end with the verdict.

    Args:
        console: where to print.
        found: what was read.
        path: the file.
        digest: its SHA-256.
        kernels: what would run it, in words.
        summary: leave out the list of layers.
    """
    if not summary:
        for graph in found.graphs:
            console.print(_layers(graph, found.macs_not_counted))
    console.print(_operators(found))
    console.print(_overview(found, path, digest, kernels))
    if found.metadata is not None:
        console.print(metadata_table(found.metadata))
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    audit = found.audit
    mark, style = ("✓", "green") if audit.passed else ("!", "yellow")
    say(console, f"{mark} {audit.verdict}", style)


def say(console: Console, text: str, style: str) -> None:
    """Print a line of text that may hold names of a foreign file."""
    console.print(plain(text), style=style, markup=False, highlight=False, soft_wrap=True)


def file_table(title: str, *columns: str) -> PlainTable:
    """Return a table in the style of `inspect`."""
    from rich import box

    table = plain_table(title, *columns, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for column in table.columns:
        column.min_width = 3
    return table


def metadata_table(metadata: ModelMetadata) -> PlainTable:
    """Return what a file says of itself; what nothing in it bears out is marked as claimed."""
    table = file_table("Metadata", "property", "value", "")
    in_words = {
        "input_size": "×".join(map(str, metadata.input_size)),
        "tried_forms": "none" if metadata.tried_forms is None else str(metadata.tried_forms),
        "features": "none: it gives logits only",
        "guard": "none: answers are judged by their probability alone",
        "confusion": "none: counts are not corrected for the model's mistakes",
    }
    if metadata.features is not None:
        in_words["features"] = f"{metadata.features:,}, the second output"
    if metadata.guard is not None:
        in_words["guard"] = _guard_in_words(metadata.guard)
    if metadata.confusion is not None:
        in_words["confusion"] = _confusion_in_words(metadata.confusion)
    for name, value in metadata_values(metadata).items():
        mark = "claimed" if name in METADATA_CLAIMS and value not in (None, [], {}) else ""
        table.add_row(name.replace("_", " "), in_words.get(name) or _in_words(value), mark)
    return table


def _guard_in_words(guard: Guard) -> str:
    """What a guard knows, and what it is said to reject."""
    domains = sorted({group.domain for group in guard.groups if group.domain})
    known = f" of {', '.join(domains)}" if domains else ""
    measures = ", ".join(measure.name for measure in guard.measures) or "none"
    return (
        f"{counted(len(guard.clusters), 'cluster')} and "
        f"{counted(guard.prototypes.shape[0], 'prototype')} of known cells{known}; measures of "
        f"the image: {measures}; rejects {guard.evidence.rejected:.1%} of held-out known cells"
    )


def _confusion_in_words(confusion: Confusion) -> str:
    """Which cells the model's mistakes were counted on."""
    sources = f" of {counted(confusion.sources, 'source')}" if confusion.grouped else ""
    return (
        f"mistakes on {counted(confusion.cells, 'held-out cell')}{sources}, accepted from "
        f"{confusion.accept_at:.1%}: corrects counts"
    )


def _layers(graph: GraphSummary, not_counted: dict[str, int]) -> PlainTable:
    """Operators in execution order, with what their first output is."""
    table = file_table(f"Layers of {graph.name or 'the graph'}", "#>")
    for heading in ("operator", "output", "shape", "type"):
        # Only the long names of outputs are folded on a narrow terminal.
        long = heading == "output"
        table.add_column(heading, no_wrap=not long, overflow="fold", min_width=7 if long else None)
    for heading in ("scale", "zero", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, operator in enumerate(graph.operators):
        outputs = [index for index in operator.outputs if index >= 0]
        cells = _cells(graph.tensors[outputs[0]]) if outputs else ("", "", "", "", "")
        macs = "not counted" if operator.name in not_counted else _short(operator.macs)
        table.add_row(number, f"{operator.name} v{operator.version}", *cells, macs)
    return table


def _operators(found: ModelSummary) -> PlainTable:
    """One row per operator kind and version: how often, and its share of the MACs."""
    table = file_table("Operators", "operator", "count>", "MACs>", "share>")
    total = sum(kind.macs for kind in found.kinds)
    for kind in found.kinds:
        share = f"{100 * kind.macs / total:.1f} %" if kind.macs else ""
        macs = f"{kind.macs:,}" if kind.macs else "" if kind.is_counted else "not counted"
        table.add_row(f"{kind.name} v{kind.version}", kind.count, macs, share)
    table.add_section()
    table.add_row("all", sum(kind.count for kind in found.kinds), f"{total:,}", "")
    return table


def _overview(found: ModelSummary, path: Path, digest: str, kernels: str) -> PlainTable:
    table = file_table("File", "property", "value")
    tensors = [tensor for graph in found.graphs for tensor in graph.tensors]
    types = sorted({tensor.type for tensor in tensors})
    table.add_row("file", path)
    table.add_row("SHA-256", digest)
    table.add_row("size", f"{found.bytes:,} bytes, {found.constant_bytes:,} of constants")
    table.add_row("arena", f"{found.arena_bytes:,} bytes for activations, by calculation")
    table.add_row("written by", found.description or "not said")
    for role, ends in (("input", found.inputs), ("output", found.outputs)):
        for tensor in ends:
            name, shape, dtype, scale, zero = _cells(tensor)
            quantised = f", scale {scale}, zero point {zero}" if scale else ""
            table.add_row(role, f"{name}: {dtype} {shape}{quantised}")
    table.add_row("tensors", f"{len(tensors):,} ({', '.join(types)})")
    table.add_row("MACs", f"{found.macs:,} per inference{_left_out(found)}")
    table.add_row("kernels", kernels)
    table.add_row("metadata", ", ".join(found.metadata_names) or "none")
    return table


def _left_out(found: ModelSummary) -> str:
    names = found.macs_not_counted
    if not names:
        return ""
    number = counted(sum(names.values()), "operator")
    return f", without those of {number} that cannot be counted ({', '.join(names)})"


def _in_words(value: object) -> str:
    """A value of the metadata as text: fractions rounded, lists and objects in a row."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_in_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _cells(tensor: TensorSummary) -> tuple[str, str, str, str, str]:
    """Name, shape, type, scale and zero point; several scales as their range."""
    scales, zeros = tensor.scales, tensor.zero_points
    scale = f"{scales[0]:.4g}" if scales else ""
    if len(scales) > 1:
        scale = f"{min(scales):.3g}…{max(scales):.3g}"
    zero = f"{zeros[0]}" if len(set(zeros)) == 1 else f"{len(zeros)} values" if zeros else ""
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return tensor.name, shape, tensor.type, scale, zero


def _short(macs: int) -> str:
    """Three figures and a unit; nothing for operators that multiply nothing."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if macs >= factor:
            return f"{macs / factor:.3g} {unit}"
    return str(macs) if macs else ""
