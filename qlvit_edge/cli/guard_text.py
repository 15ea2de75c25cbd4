"""What commands say of a guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.modelfile.guard import Guard


def say_if_unguarded(classifier: Classifier) -> None:
    """Say on stderr that a file has no guard."""
    from qlvit_edge.guard.statement import UNGUARDED

    if not classifier.judges:
        click.echo(f"note: {UNGUARDED}", err=True)


def print_evidence(guard: Guard) -> None:
    """Print how a guard was found and what it does with the cells that were held out."""
    found = guard.evidence
    domains = ", ".join(f"{name} {share:.1%}" for name, share in found.rejected_by_domain.items())
    click.echo(
        f"guard: fitted on {found.cells['training']} images of training, limits on "
        f"{found.cells['held out']} of {found.sources['held out']} held-out sources, of which "
        f"{found.rejected:.1%} are rejected ({found.rate:.1%} asked for; {domains}); right "
        f"{found.accuracy:.1%}, of the accepted {found.accuracy_accepted:.1%}; temperature "
        f"{guard.temperature:.2f}, calibration error {found.calibration_error:.3f} before it and "
        f"{found.calibration_error_after:.3f} after; accepted from probability "
        f"{guard.probability:.1%}"
    )
