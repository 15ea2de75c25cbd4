"""The table of the proof that `convert` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.converters.proof.accuracy import BudgetVerdict
    from qlvit_edge.converters.report import EqualityReport, ProofReport


def print_proof(report: ProofReport, verdict: BudgetVerdict, channels: int) -> None:
    """Print every claim with what was found, and what became of the accuracy budget."""
    from qlvit_edge.modelfile.metadata import TriedForms
    from qlvit_edge.preprocess import note_on

    equality, reference = report.equality, report.reference_equality
    accuracy = report.accuracy
    low, high = accuracy.interval
    title = "Proof (reduced proof)" if report.reduced_proof else "Proof"
    table = plain_table(title, "claim", "finding")
    table.add_row("proved on", report.proof_images)
    table.add_row("every tensor an integer", f"{report.tensors} of {report.tensors}")
    table.add_row("builtin operators only", f"{report.operators} of {report.operators}")
    table.add_row(
        "equal to XNNPACK's arithmetic",
        f"{_extent(equality)}; {equality.kernels} of {report.runtime}",
    )
    table.add_row(
        "equal to the reference arithmetic",
        f"not compared: not known of {report.runtime}"
        if reference is None
        else f"{_extent(reference)}; reference kernels",
    )
    table.add_row("the same on x86-64 and arm64", str(TriedForms(**asdict(report.one_arithmetic))))
    table.add_row(
        "accuracy",
        f"not measured: the images have no labels; {accuracy.agreement:.2%} same class"
        if not accuracy.measured
        else f"float {accuracy.float_accuracy:.2%}, file {accuracy.file_accuracy:.2%} "
        f"({accuracy.drop:+.2f} points lost; 95 % between {low:+.2f} and {high:+.2f}), "
        f"{accuracy.agreement:.2%} same class",
    )
    table.add_row(
        f"at most {verdict.max_drop:g} points lost", f"{verdict.outcome}: {verdict.finding}"
    )
    table.add_row("golden pairs inside", str(report.golden_pairs))
    table_console().print(table)
    if report.unusual_images:
        click.echo(note_on(report.unusual_images, channels))
    click.echo("For research use only, not for diagnosis.")


def _extent(found: EqualityReport) -> str:
    return f"{counted(found.tensors, 'tensor')}, byte for byte, on {counted(found.images, 'image')}"
