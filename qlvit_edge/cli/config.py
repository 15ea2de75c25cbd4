"""`qlvit-edge config`: the configuration file that `run --config` takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.suggestions import SuggestingGroup, suggesting
from qlvit_edge.configuration.last_good import EDITED, GOOD

if TYPE_CHECKING:
    from qlvit_edge.configuration.document import Document

_EXAMPLE = {
    "model": "blood-nano",
    "camera": "picamera2",
    "out": "/var/lib/qlvit-edge/results.sqlite",
    "serve": "127.0.0.1:8321",
}
_HEAD = """What `qlvit-edge run` does as a service: one key for everything that it takes.
Written by `qlvit-edge config example`; keys that are not set stand there as comments, with their \
default or a sample. Relative paths begin in the working folder, which is /var/lib/qlvit-edge for \
the service.
Check it with `qlvit-edge config check FILE`; the service takes it over with `sudo systemctl \
reload qlvit-edge`, and goes on as before where it cannot be used.
A file with a camera's password must not be readable for everybody: chmod 640."""

_SOURCES = {
    "DEFAULT_MAP": "file",
    "ENVIRONMENT": "environment",
    "COMMANDLINE": "command line",
}

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group("config", cls=SuggestingGroup)
def command() -> None:
    """Check and apply the configuration file of a run.

    The file is TOML and holds everything that `run` takes, under the names of its options. The
    command line wins over the environment, that over the file, and the file over the defaults.

    \b
    Example:
      qlvit-edge config example >run.toml
      qlvit-edge config check run.toml
      qlvit-edge run --config run.toml
    """


@command.command("check")
@file_argument
def check(file: Path) -> None:
    """Check a configuration file: is everything in it right, and can a run begin with it?

    Unknown keys and wrong values are refused; the model is loaded, the camera's name is read, and
    the folders must be there. A camera that is not connected is no fault of the file. Nothing is
    written. Exit code 2: it cannot be used.

    \b
    Example:
      qlvit-edge config check run.toml
    """
    document = _usable(file)
    click.echo(f"{file}: good ({len(document.values)} keys)")
    next_step(f"qlvit-edge run --config {shell_word(file)}")


@command.command("apply")
@click.argument("file", type=click.Path(path_type=Path), default=EDITED)
@click.option(
    "--good",
    type=click.Path(path_type=Path, dir_okay=False),
    default=GOOD,
    show_default=True,
    metavar="COPY",
    help="The copy that the service starts from.",
)
def apply(file: Path, good: Path) -> None:
    """Check a configuration file and, if it is good, put it in place of the last good one.

    FILE is /etc/qlvit-edge/run.toml unless another one is named. A file that cannot be used is
    reported, and the copy stays as it is. The service does this when it starts and when it is
    reloaded (`systemctl reload qlvit-edge`). Exit code 2: the copy stayed.

    \b
    Example:
      qlvit-edge config apply run.toml --good good.toml
      qlvit-edge run --config good.toml
    """
    from qlvit_edge.configuration.document import read_document
    from qlvit_edge.configuration.last_good import is_applied, keep_as_good

    if is_applied(read_document(file, _run()), good):
        click.echo(f"{good}: says the same already")
        return
    document = _usable(file)
    keep_as_good(document, good)
    click.echo(f"{good}: taken over from {file}")


@command.command("show")
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print the values as JSON.")
def show(file: Path, as_json: bool) -> None:
    """Show every value that a run with this file would have, and where it comes from.

    Passwords and tokens in addresses are hidden. The model is not loaded.

    \b
    Example:
      qlvit-edge config show run.toml
    """
    from qlvit_edge.configuration.document import read_document
    from qlvit_edge.configuration.keys import keys_of
    from qlvit_edge.credentials import masked
    from qlvit_edge.files import json_text

    document = read_document(file, _run())
    rows: dict[str, dict[str, Any]] = {}
    with _context(document) as context:
        for name, key in keys_of(context.command).items():
            value = context.params.get(key.field, document.values.get(key.field))
            source = context.get_parameter_source(key.field)
            where = _SOURCES.get("" if source is None else source.name, "default")
            rows[name] = {"value": _plain_value(value), "from": where}
    if as_json:
        click.echo(masked(json_text(rows)))
        return
    for name, row in rows.items():
        value = "-" if row["value"] is None else json.dumps(row["value"], ensure_ascii=False)
        click.echo(masked(f"{name:<16}{value}  ({row['from']})"))


@command.command("example")
def example() -> None:
    """Print a configuration file with every key, to begin with.

    \b
    Example:
      qlvit-edge config example >run.toml
    """
    from qlvit_edge.configuration.example import example_of

    click.echo(example_of(_run(), _EXAMPLE, _HEAD), nl=False)


def _run() -> click.Command:
    from qlvit_edge.cli.run import command as run

    return suggesting(run)


def _plain_value(value: Any) -> Any:
    """Return a value as a file would have it."""
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or None
    return str(value) if isinstance(value, Path) else value


def _context(document: Document) -> click.Context:
    """Return the command line of a run with nothing but this file.

    Raises:
        ConfigurationError: something is missing, or does not go together.
    """
    from qlvit_edge.configuration.document import REMEDY
    from qlvit_edge.errors import ConfigurationError

    try:
        return _run().make_context("run", [], default_map=document.values)
    except click.MissingParameter as error:
        name = "" if error.param is None else str(error.param.opts[0]).removeprefix("--")
        raise ConfigurationError(document.path, f"{name}: is missing", REMEDY) from None
    except click.UsageError as error:
        raise ConfigurationError(document.path, error.message.rstrip("."), REMEDY) from None


def _usable(file: Path) -> Document:
    """Read a file and try it: everything short of what writes, or waits for a camera.

    Raises:
        ConfigurationError: it cannot be used.
    """
    from qlvit_edge.cli.config_trial import try_command
    from qlvit_edge.configuration.document import REMEDY, read_document
    from qlvit_edge.errors import ConfigurationError, QLViTEdgeError

    document = read_document(file, _run())
    with _context(document) as context:
        try:
            try_command(context)
        except click.UsageError as error:
            raise ConfigurationError(file, error.message.rstrip("."), REMEDY) from None
        except QLViTEdgeError as error:
            finding, _, remedy = str(error).partition("; ")
            raise ConfigurationError(file, finding, remedy or REMEDY) from None
    return document
