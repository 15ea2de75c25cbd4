"""The table of the proof that `convert` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import table_console

if TYPE_CHECKING:
    from qlvit_edge.converters.report import ProofReport


def print_proof(report: ProofReport) -> None:
    """Print every claim with what was found."""
    from rich.table import Table

    from qlvit_edge.data.checks import note_on

    equality, kernels = report.equality, report.default_kernels
    accuracy, reference = report.accuracy, report.reference_accuracy
    table = Table(title="Proof (reduced proof)" if report.reduced_proof else "Proof")
    table.add_column("claim")
    table.add_column("finding")
    table.add_row("proved on", f"{accuracy.images} images, {report.proof_images}")
    table.add_row("every tensor an integer", f"{report.tensors} of {report.tensors}")
    table.add_row("builtin operators only", f"{report.operators} of {report.operators}")
    equal = f"{equality.tensors} tensors, byte for byte, on {equality.at_every_tensor} images"
    if equality.at_every_tensor < equality.images:
        equal += f"; the logits on {equality.images}"
    table.add_row("equal to the integer reference", equal)
    table.add_row(
        "on the default kernels",
        f"{kernels.kernels}; {kernels.changed:.2%} of the logits differ, by at most "
        f"{kernels.largest}; {kernels.agreement:.1%} same class",
    )
    table.add_row(
        "accuracy",
        f"float {accuracy.float_accuracy:.2%}, file {accuracy.file_accuracy:.2%} "
        f"({accuracy.drop:+.2f} points lost), {accuracy.agreement:.2%} same class",
    )
    table.add_row(
        f"accuracy on {reference.images} of them",
        f"float {reference.of_float:.2%}, reference {reference.of_reference:.2%}, "
        f"file {reference.of_file:.2%}",
    )
    table.add_row("golden pairs inside", str(report.golden_pairs))
    table_console().print(table)
    if report.unusual_images:
        click.echo(note_on(report.unusual_images))
    click.echo("For research use only, not for diagnosis.")
