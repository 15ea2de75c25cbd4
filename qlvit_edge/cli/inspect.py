"""`qlvit-edge inspect`: list what a .tflite file holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import WIDE, next_step, shell_word, table_console

if TYPE_CHECKING:
    from qlvit_edge.modelfile.document import Document


@click.command("inspect")
@click.argument("file")
@click.option("--summary", is_flag=True, help="Leave out the list of layers.")
@click.option(
    "--edgetpu",
    is_flag=True,
    help="Forecast instead how much of it an Edge TPU would run, and why.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(file: str, summary: bool, edgetpu: bool, as_json: bool) -> None:
    """List the operators, shapes, types, scales, MACs and metadata of FILE.

    FILE is a .tflite file made by any tool, integer or float, or the name of a bundled model
    (blood-nano, blood-tiny, wbc-nano). Of a chain for an Edge TPU its segments are listed.

    The file is read in Python. Only the line "kernels" asks the TFLite runtime, in a process of
    its own, so a damaged file cannot end this one. All figures are counted in the file; what it
    merely says of itself, such as its accuracy, is marked as claimed.

    Exit code 0 for every file that can be read, whatever is found in it; 2 for what is no model.

    \b
    Example:
      qlvit-edge inspect wbc.tflite
      qlvit-edge inspect wbc.tflite --json | jq .operator_counts
      qlvit-edge inspect wbc.tflite --edgetpu
    """
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.modelfile.chain import is_chain
    from qlvit_edge.modelfile.reader import read_bytes, read_document

    path = resolve_model(file)
    content = read_bytes(path)
    if is_chain(content):
        _chain(content, path, summary, as_json)
        next_step(_measuring(file), as_json=as_json)
        return
    document = read_document(content, subject=path)
    if edgetpu:
        _edgetpu(document, summary, as_json)
        next_step(
            "qlvit-edge convert RUN --target edgetpu --out chain.zip",
            "make a chain that leaves more to it",
            as_json=as_json,
        )
        return
    _model(document, content, file, path, summary, as_json)


def _model(
    document: Document, content: bytes, file: str, path: Path, summary: bool, as_json: bool
) -> None:
    """Print what a file holds."""
    from qlvit_edge.files import json_text, sha256
    from qlvit_edge.inference.kernels_in_words import NOT_KNOWN, kernels_in_child
    from qlvit_edge.modelfile.metadata import metadata_of
    from qlvit_edge.modelfile.summary import summarise

    found = summarise(document, metadata_of(document, subject=path), subject=path)
    digest, kernels = sha256(content), kernels_in_child(path, content)
    if as_json:
        origin = {"file": str(path), "sha256": digest}
        click.echo(json_text({**origin, **found.as_dict(), "kernels": kernels}))
        return
    from qlvit_edge.cli.inspect_model import print_model

    print_model(table_console(WIDE), found, path, digest, kernels, summary=summary)
    if kernels.startswith(NOT_KNOWN):
        next_step("give `validate` and `run` a classifier that the runtime accepts")
    else:
        next_step(_measuring(file), "measure it on this device")


def _measuring(file: str) -> str:
    return f"qlvit-edge validate {shell_word(file)} --data FOLDER --out report/"


def _chain(content: bytes, path: Path, summary: bool, as_json: bool) -> None:
    """Print a chain's segments."""
    from qlvit_edge.cli.inspect_chain import print_chain
    from qlvit_edge.files import json_text
    from qlvit_edge.modelfile.chain import read_chain
    from qlvit_edge.modelfile.chain_figures import chain_figures
    from qlvit_edge.modelfile.chain_report import chain_values

    chain = read_chain(content, subject=path)
    figures = chain_figures(chain)
    if as_json:
        click.echo(json_text({"file": str(path), **chain_values(chain, figures, content)}))
        return
    print_chain(table_console(WIDE), chain, figures, path, content, summary=summary)


def _edgetpu(document: Document, summary: bool, as_json: bool) -> None:
    """Print the forecast for an Edge TPU."""
    from qlvit_edge.files import json_text
    from qlvit_edge.modelfile.edgetpu_forecast import forecast
    from qlvit_edge.modelfile.edgetpu_report import report_forecast

    found = report_forecast(forecast(document))
    if as_json:
        click.echo(json_text(asdict(found)))
        return
    from qlvit_edge.cli.inspect_edgetpu import print_forecast

    print_forecast(table_console(WIDE), found, summary=summary)
