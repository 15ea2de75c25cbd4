"""What `adapt` says of a fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import plain_table, table_console
from qlvit_edge.presence import present

if TYPE_CHECKING:
    from qlvit_edge.adaptation.cells import Cells
    from qlvit_edge.adaptation.session import Adaptation

_RARE_CELLS = 20


def print_adaptation(adaptation: Adaptation, classes: list[str], labelled: Cells | None) -> None:
    """Print what was tried and chosen, before and after, and what is not known.

    Args:
        adaptation: what was done.
        classes: of the run.
        labelled: the labelled cells; None where there were none.
    """
    from qlvit_edge.training.adapted import IN_WORDS

    if labelled is None:
        _print_steps(adaptation)
    else:
        _print_trials(adaptation, labelled)
    click.echo(f"chosen: {IN_WORDS[adaptation.method]}")
    _print_classes(adaptation, classes)
    click.echo(
        f"{adaptation.changed:.1%} of the unlabelled cells are answered otherwise than before"
    )
    if labelled is None:
        click.echo(
            "how many of the answers are right is not known: nobody labelled these cells. Label 5 "
            "to 20 of each class and run this again with --labelled"
        )
        return
    without = [
        name for label, name in enumerate(classes) if label not in set(labelled.labels.tolist())
    ]
    if without:
        click.echo(f"nothing is known of {', '.join(without)}: no labelled cells")


def _print_steps(adaptation: Adaptation) -> None:
    table = plain_table("Without labels", "tried", "information between cells and answers>")
    for step in adaptation.steps:
        table.add_row(step.words, f"{step.information:.3f} nats")
    table_console().print(table)


def _print_trials(adaptation: Adaptation, labelled: Cells) -> None:
    from qlvit_edge.adaptation.choose import recall_of

    fitted = present(adaptation.fitted, "what was fitted")
    table = plain_table(
        f"Mean recall on {len(labelled.cells)} labelled cells (cross-validated)",
        "tried",
        "recall>",
        "95 % interval>",
    )
    for trial in fitted.tried:
        found = recall_of(trial, labelled.labels, labelled.groups)
        table.add_row(trial.name, f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}")
    table_console().print(table)


def _print_classes(adaptation: Adaptation, classes: list[str]) -> None:
    """Print each class's share of the answers, and its recall where it is known."""
    before, after = adaptation.before, adaptation.after
    columns = ["class", "of answers before>", "after>"]
    if before is not None:
        columns += ["recall before>", "after>"]
    table = plain_table("Classes", *columns)
    for label, name in enumerate(classes):
        row = [
            name, f"{adaptation.shares_before[label]:.1%}", f"{adaptation.shares_after[label]:.1%}"
        ]  # fmt: skip
        if before is not None and after is not None:
            for found in (before, after):
                recall = found.by_class.get(label)
                row.append("" if recall is None else f"{recall:.0%}")
        table.add_row(*row)
    table_console().print(table)
