"""`qlvit-edge models`: the trained models that have a name, and those installed on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import (
    WIDE,
    next_step,
    plain_table,
    shell_word,
    table_console,
)
from qlvit_edge.cli.models_install import install_bundle, roll_back, show_status
from qlvit_edge.cli.models_sign import keys_group, sign_model, verify_bundle
from qlvit_edge.cli.suggestions import SuggestingGroup
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.evaluation.named_models import NamedModel


@click.group(cls=SuggestingGroup)
def command() -> None:
    """List the trained models that have a name; sign models, and install them on a device.

    Such a name can be given to every command that takes a run folder or a model file. Models
    come with the package; larger ones lie in the folder `models` of the repository, which
    QLVIT_EDGE_MODELS names where the package was not installed from there.

    \b
    Example:
      qlvit-edge models list
      qlvit-edge models show blood-nano
      qlvit-edge models sign wbc.tflite --key lab.key --version 1.4.0 --out wbc-1.4.0.qlvit
      qlvit-edge models install wbc-1.4.0.qlvit
    """


for _delivering in (keys_group, sign_model, verify_bundle, install_bundle, show_status, roll_back):
    command.add_command(_delivering)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything known as JSON.")
def list_models(as_json: bool) -> None:
    """List the models that are here, and say where others are.

    \b
    Example:
      qlvit-edge models list
    """
    from qlvit_edge import bundled
    from qlvit_edge.evaluation.named_models import named_model
    from qlvit_edge.files import json_text

    models = [named_model(name) for name in bundled.all_names()]
    if as_json:
        click.echo(json_text([model.as_dict() for model in models]))
        return
    table = plain_table(
        counted(len(models), "model"),
        *("name", "network", "classes>", "parameters>", "input", "accuracy of the file>"),
        *("bytes>", "SHA-256", "where"),
    )
    for column in table.columns:
        column.no_wrap = True
    for model in models:
        table.add_row(*_row(model))
    console = table_console(WIDE)
    console.print(table)
    for model in models:
        if model.error is not None:
            click.echo(f"warning: {model.error}", err=True)
    repository = bundled.models_folder()
    if repository is None:
        click.echo(bundled.ELSEWHERE)
    next_step("qlvit-edge models show blood-nano", "what one is for, and its figures")


def _row(model: NamedModel) -> list[str]:
    known, accuracy = model.metadata, model.accuracy
    return [
        model.name,
        "–" if known is None else f"{known.variant} {known.size_name}",
        "–" if known is None else str(len(known.labels)),
        "–" if model.parameters is None else f"{model.parameters:,}",
        model.input,
        "–" if accuracy is None else f"{accuracy[0]:.2%}",
        "–" if model.file_bytes is None else f"{model.file_bytes:,}",
        "–" if model.sha256 is None else model.sha256[:12],
        "package" if model.bundled else "repository",
    ]


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print everything known as JSON.")
def show_model(name: str, as_json: bool) -> None:
    """Show what the model NAME is for, its figures and what is not known of it.

    Exit code 1 where its file cannot be read: what is shown is then the rest.

    \b
    Example:
      qlvit-edge models show blood-nano
    """
    from qlvit_edge.evaluation.named_models import card_text, essentials, named_model
    from qlvit_edge.files import json_text

    model = named_model(name)
    if model.error is not None:
        click.echo(f"error: {model.error}", err=True)
    sections = list(essentials(card_text(model)))
    if as_json:
        click.echo(json_text({**model.as_dict(), "card": dict(sections)}))
    else:
        _print_model(model, sections)
    if model.error is not None:
        click.get_current_context().exit(1)


def _print_model(model: NamedModel, sections: list[tuple[str, str]]) -> None:
    from qlvit_edge.evaluation.named_models import CARD

    table = plain_table(model.name, "property", "value")
    for property_, value in _facts(model):
        table.add_row(property_, value)
    table_console().print(table)
    for heading, text in sections:
        click.echo(f"\n{plain(heading)}\n\n{plain(text, keep=_LINES)}")
    card = model.folder / CARD
    click.echo(f"\ncard: {plain(str(card))}" if card.is_file() else "\nit has no card")
    if model.file is not None and model.error is None:
        next_step(f"qlvit-edge predict IMAGES --model {shell_word(model.name)}", "try it")
    elif model.file is None and model.trainable:
        convert = f"qlvit-edge convert {shell_word(model.name)} --out model.tflite"
        next_step(convert, "make its model file")


_LINES = "\n"


def _facts(model: NamedModel) -> list[tuple[str, str]]:
    """What the files say, in words."""
    known, accuracy = model.metadata, model.accuracy
    facts = [("folder", str(model.folder))]
    if known is not None:
        facts += [
            ("network", f"{known.variant} {known.size_name}"),
            ("classes", ", ".join(known.labels)),
            ("does not know", ", ".join(known.unknown_cells) or "not said"),
            ("input", model.input),
            ("trained on", known.training_data),
            ("guard", "none" if known.guard is None else "judges every answer"),
            ("intended use", known.intended_use),
        ]
    if model.parameters is not None:
        facts.append(("parameters", f"{model.parameters:,}"))
    if accuracy is not None:
        facts.append(("accuracy of the file", f"{accuracy[0]:.2%}, {accuracy[1]}"))
    if model.file is not None and model.file_bytes is not None:
        facts.append(("file", f"{model.file.name}, {model.file_bytes:,} bytes"))
        facts.append(("SHA-256", str(model.sha256)))
    facts.append(("weights", "best.safetensors" if model.trainable else "not here"))
    return facts
