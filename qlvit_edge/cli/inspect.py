"""`qlvit-edge inspect`: list what a .tflite file holds."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from qlvit_edge.modelfile.audit import AuditResult
    from qlvit_edge.modelfile.document import Document
    from qlvit_edge.modelfile.metadata import ModelMetadata
    from qlvit_edge.modelfile.summary import (
        GraphSummary,
        ModelSummary,
        OperatorSummary,
        TensorSummary,
    )


@click.command("inspect")
@click.argument("file")
@click.option("--summary", is_flag=True, help="Leave out the list of layers.")
@click.option(
    "--edgetpu", is_flag=True, help="Forecast instead what an Edge TPU would run of it, and why."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(file: str, summary: bool, edgetpu: bool, as_json: bool) -> None:
    """List the operators, shapes, types, scales, MACs and metadata of FILE.

    FILE is a .tflite file of any tool, integer or float, or the name of a bundled model; of
    a chain for an Edge TPU the segments are listed.
    The file is read without native code; only the line on kernels asks the runtime, in a
    process of its own.

    \b
    Example:
      qlvit-edge inspect wbc.tflite
      qlvit-edge inspect wbc.tflite --json | jq .operator_counts
      qlvit-edge inspect wbc.tflite --edgetpu
    """
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.files import json_text, sha256
    from qlvit_edge.modelfile.chain import is_chain
    from qlvit_edge.modelfile.metadata import metadata_of
    from qlvit_edge.modelfile.reader import read_bytes, read_document
    from qlvit_edge.modelfile.summary import summarise

    path = resolve_model(file)
    content = read_bytes(path)
    if is_chain(content):
        _chain(content, path, as_json)
        return
    document = read_document(content, subject=path)
    if edgetpu:
        _edgetpu(document, summary, as_json)
        return
    found = summarise(document, metadata_of(document, subject=path))
    digest, kernels = sha256(content), _kernels_in_child(path, content)
    if as_json:
        origin = {"file": str(path), "sha256": digest}
        values = {**origin, **found.as_dict(), "kernels": kernels}
        click.echo(json_text(values))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    if not summary:
        for graph in found.graphs:
            console.print(_layers(graph))
    console.print(_operators(found))
    console.print(_overview(found, path, digest, kernels))
    if found.metadata is not None:
        console.print(_metadata(found.metadata))
    _verdict(console, found.audit)


def _chain(content: bytes, path: Path, as_json: bool) -> None:
    """Print a chain's segments."""
    from qlvit_edge.cli.inspect_chain import chain_values, print_chain
    from qlvit_edge.files import json_text
    from qlvit_edge.modelfile.chain import read_chain
    from qlvit_edge.modelfile.chain_figures import chain_figures

    chain = read_chain(content, subject=path)
    figures = chain_figures(chain)
    if as_json:
        click.echo(json_text(chain_values(chain, figures)))
        return
    from rich.console import Console

    print_chain(Console(width=None if sys.stdout.isatty() else 160), chain, figures, _table)


def _edgetpu(document: Document, summary: bool, as_json: bool) -> None:
    """Print the forecast for an Edge TPU."""
    from qlvit_edge.files import json_text
    from qlvit_edge.modelfile.edgetpu_forecast import forecast
    from qlvit_edge.modelfile.edgetpu_report import report_forecast

    found = report_forecast(forecast(document))
    if as_json:
        click.echo(json_text(asdict(found)))
        return
    from rich.console import Console

    from qlvit_edge.cli.inspect_edgetpu import print_forecast

    console = Console(width=None if sys.stdout.isatty() else 160)
    print_forecast(console, found, _table, summary=summary)


def _kernels_in_child(path: Path, content: bytes) -> str:
    """Return in words which kernels the default runtime runs, and whether that is proved.

    The runtime is asked in a process of its own: odd models can end the process.
    """
    from qlvit_edge.errors import QLViTEdgeError
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.chain import open_isolated
    from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS

    allowance = Allowance(operators=ALLOWED_OPERATORS)
    try:
        with open_isolated(content, subject=path, allowance=allowance) as model:
            return f"{model.kernels_used}: {model.arithmetic}"
    except QLViTEdgeError as error:
        return f"not known ({error})"


def _layers(graph: GraphSummary) -> Table:
    """Operators in execution order, with what their first output is."""
    table = _table(f"Layers of {plain(graph.name) or 'the graph'}", "#>")
    for heading in ("operator", "output", "shape", "type"):
        # Only the long names of outputs are folded on a narrow terminal.
        long = heading == "output"
        table.add_column(heading, no_wrap=not long, overflow="fold", min_width=7 if long else None)
    for heading in ("scale", "zero", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, operator in enumerate(graph.operators):
        outputs = [index for index in operator.outputs if index >= 0]
        cells = _cells(graph.tensors[outputs[0]]) if outputs else ("", "", "", "", "")
        table.add_row(str(number), _operator(operator), *cells, _short(operator.macs))
    return table


def _operators(found: ModelSummary) -> Table:
    """One row per operator kind and version: how often, and its share of the MACs."""
    rows: dict[str, list[int]] = {}
    for graph in found.graphs:
        for operator in graph.operators:
            row = rows.setdefault(_operator(operator), [0, 0])
            row[0] += 1
            row[1] += operator.macs
    table = _table("Operators", "operator", "count>", "MACs>", "share>")
    total = sum(macs for _, macs in rows.values())
    for name, (count, macs) in sorted(rows.items(), key=lambda item: (-item[1][1], -item[1][0])):
        share = f"{100 * macs / total:.1f} %" if macs else ""
        table.add_row(name, str(count), f"{macs:,}" if macs else "", share)
    table.add_section()
    table.add_row("all", str(sum(count for count, _ in rows.values())), f"{total:,}", "")
    return table


def _overview(found: ModelSummary, path: Path, digest: str, kernels: str) -> Table:
    table = _table("File", "property", "value")
    tensors = [tensor for graph in found.graphs for tensor in graph.tensors]
    types = sorted({tensor.type for tensor in tensors})
    table.add_row("file", plain(str(path)))
    table.add_row("SHA-256", digest)
    table.add_row("size", f"{found.bytes:,} bytes, {found.constant_bytes:,} of constants")
    table.add_row("arena", f"{found.arena_bytes:,} bytes for activations, by calculation")
    table.add_row("written by", plain(found.description) or "not said")
    for role, ends in (("input", found.inputs), ("output", found.outputs)):
        for tensor in ends:
            name, shape, dtype, scale, zero = _cells(tensor)
            quantised = f", scale {scale}, zero point {zero}" if scale else ""
            table.add_row(role, f"{name}: {dtype} {shape}{quantised}")
    table.add_row("tensors", f"{len(tensors)} ({', '.join(types)})")
    table.add_row("MACs", f"{found.macs:,} per inference")
    table.add_row("kernels", plain(kernels))
    table.add_row("metadata", ", ".join(map(plain, found.metadata_names)) or "none")
    return table


def _metadata(metadata: ModelMetadata) -> Table:
    from qlvit_edge.modelfile.summary import metadata_values

    table = _table("Metadata", "property", "value")
    in_words = {
        "input_size": "×".join(map(str, metadata.input_size)),
        "tried_forms": "none" if metadata.tried_forms is None else str(metadata.tried_forms),
    }
    for name, value in (metadata_values(metadata) | in_words).items():
        table.add_row(name.replace("_", " "), plain(_in_words(value)))
    return table


def _in_words(value: object) -> str:
    """A value of the metadata as text: fractions rounded, lists and objects in a row."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _verdict(console: Console, audit: AuditResult) -> None:
    style = "green" if audit.passed else "yellow"
    mark = "✓" if audit.passed else "!"
    console.print(f"{mark} {plain(audit.verdict)}", style=style, markup=False, highlight=False)


def _cells(tensor: TensorSummary) -> tuple[str, str, str, str, str]:
    """Name, shape, type, scale and zero point; several scales as their range."""
    scales, zeros = tensor.scales, tensor.zero_points
    scale = f"{scales[0]:.4g}" if scales else ""
    if len(scales) > 1:
        scale = f"{min(scales):.3g}…{max(scales):.3g}"
    zero = f"{zeros[0]}" if len(set(zeros)) == 1 else f"{len(zeros)} values" if zeros else ""
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return plain(tensor.name), shape, tensor.type, scale, zero


def _short(macs: int) -> str:
    """Three figures and a unit; nothing for operators that multiply nothing."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if macs >= factor:
            return f"{macs / factor:.3g} {unit}"
    return str(macs) if macs else ""


def _operator(operator: OperatorSummary) -> str:
    return f"{plain(operator.name)} v{operator.version}"


def _table(title: str, *columns: str) -> Table:
    """A table of plain text; a column ending in `>` is aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    class PlainTable(Table):
        """Takes cells as they are: a name like `[red]` is a name, not markup."""

        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(Text(str(cell)) for cell in cells), **options)

    table = PlainTable(
        title=Text(title, style="bold"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left", min_width=3)
    return table
