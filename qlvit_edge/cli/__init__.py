"""The command line: one module per command, imported only when that command is used.

`qlvit-edge --help` must answer at once on a Raspberry Pi, so this module knows the
commands by name and one-line description only. Errors end here: one line, no traceback
(`--debug` shows it), exit code 0 done, 1 a check failed, 2 wrong use, bad input or a fault of
ours, 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import traceback
from typing import Any

import click

from qlvit_edge.cli.streams import outlets
from qlvit_edge.cli.suggestions import SuggestingGroup
from qlvit_edge.credentials import masked
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.launch import is_follower, launch
from qlvit_edge.text import plain

_PYTORCH_MEMORY = re.compile("^OutOfMemoryError:|^RuntimeError: .*DefaultCPUAllocator: ", re.DOTALL)
"""PyTorch's errors where it gets no memory; on a CPU it is known by its text only."""

COMMANDS = {
    "models": "List trained models; sign, install and roll back models.",
    "data": "Check a folder of labelled images and split it.",
    "train": "Train a network and leave a run folder.",
    "report": "Write one page on how a trained run does.",
    "cost": "Count parameters and multiply-accumulates of a network size.",
    "adapt": "Fit a trained network to another microscope.",
    "calibrate": "Find the integer ranges of a trained network.",
    "sensitivity": "Find which layers cost most in integers.",
    "convert": "Turn a trained network into a proven integer .tflite.",
    "compare": "Show one network through every route, side by side.",
    "inspect": "List what a .tflite file holds.",
    "benchmark": "Compare models' latency, start-up and memory on this device.",
    "validate": "Measure a model file's accuracy and speed on this device.",
    "deploy": "Bring a signed model to a device and validate it there.",
    "predict": "Classify image files and list the answers.",
    "explain": "Show where in images a network finds a class.",
    "doctor": "Look whether everything is right on this device.",
    "camera": "Find, test and calibrate a microscope's camera.",
    "run": "Find and classify cells in a camera's frames.",
    "config": "Check and apply the configuration file of a run.",
    "results": "Review, sign, export and keep the results of runs.",
    "count": "Show the differential of a stored run.",
    "reference": "Check every day that a reference slide is seen as before.",
}


class _LazyGroup(SuggestingGroup):
    """A group whose commands live in modules of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def find_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"qlvit_edge.cli.{cmd_name}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    from qlvit_edge.inference.arithmetic import installed_runtimes

    click.echo(f"qlvit-edge, version {version('qlvit-edge')}")
    for line in installed_runtimes():
        click.echo(line)
    ctx.exit()


# color: click would remove escapes from texts that are not for a terminal; ours are shown.
@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "color": True}
)
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show this version, the runtime's, and whether its arithmetic is proved.",
)
def cli(debug: bool) -> None:
    """Train networks that classify cells, convert them to integer models and run them.

    The models run on a microscope's small computer, byte for byte the same everywhere. For
    research use only, not for diagnosis.

    Exit codes: 0 done, 1 a check did not pass, 2 wrong use or bad input, 130 interrupted. Every
    error is one line with a remedy.

    \b
    Try it without data of your own:
      qlvit-edge validate blood-nano --out report/

    \b
    Example, from labelled images to a running microscope:
      qlvit-edge data split cells/ --out split.json
      qlvit-edge train --data cells/ --split split.json --model nano --out runs/wbc
      qlvit-edge calibrate runs/wbc --data cells/
      qlvit-edge convert runs/wbc --out wbc.tflite
      qlvit-edge validate wbc.tflite --data cells/ --split split.json --out report/
      qlvit-edge run wbc.tflite --camera picamera2 --out results.sqlite
    """
    command = click.get_current_context().invoked_subcommand
    if launch() is not None and command != "train":
        raise click.UsageError(
            f"torchrun: `{command}` is not shared out over processes, only `train` is; start it "
            "once, as `qlvit-edge`"
        )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with the documented code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with outlets(muted=is_follower()) as out:
        code = _run(arguments)
        out.flush()
        if out.lost is not None:
            reason = out.lost.strerror or str(out.lost)
            click.echo(f"error: standard output: {reason}; {_remedy(out.lost)}", err=True)
            code = code or 2
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code, after one line about what went wrong."""
    debug = "--debug" in arguments
    try:
        code: Any = cli.main(
            arguments, prog_name="qlvit-edge", standalone_mode=False, obj=tuple(arguments)
        )
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _finish("interrupted", 130)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(masked(said.getvalue()), err=True, nl=False)
        return 2
    except Exception as error:
        if debug:
            return _finish(traceback.format_exc().rstrip(), _exit_code(error))
        return _finish(in_one_line(error), _exit_code(error))
    return code if isinstance(code, int) else 0


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, QLViTEdgeError) else 2


def in_one_line(error: Exception) -> str:
    """Return what went wrong, found and to be done, as a command says it at its end."""
    if isinstance(error, QLViTEdgeError):
        internal = str(error).startswith("internal error: ")  # of a service
        return str(error) if internal else f"error: {error}"
    if isinstance(error, OSError):
        subject = error.filename if error.filename is not None else "the operating system"
        reason = error.strerror or str(error)
        return f"error: {_in_words(subject)}: {reason}; {_remedy(error)}"
    if isinstance(error, MemoryError) or _PYTORCH_MEMORY.search(f"{type(error).__name__}: {error}"):
        return "error: memory: not enough of it; use a smaller input or more memory"
    finding = plain(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
    return (
        f"internal error: {finding}; this is a fault of qlvit-edge: run the command with "
        "`qlvit-edge --debug` and report what it shows"
    )


def _in_words(name: object) -> str:
    return plain(os.fsdecode(name) if isinstance(name, bytes | str) else str(name))


def _remedy(error: OSError) -> str:
    import errno

    return {
        errno.ENOSPC: "free some disk space and run the command again",
        errno.EDQUOT: "free some disk space and run the command again",
        errno.EROFS: "choose a target on a writable disk",
        errno.EACCES: "check the permissions or choose another place",
        errno.EPERM: "check the permissions or choose another place",
        errno.ENOENT: "check the name",
        errno.ENOTDIR: "name a folder",
        errno.EISDIR: "name a file",
        errno.EEXIST: "choose another name",
    }.get(error.errno or 0, "check the path and the disk")


def _finish(message: str, code: int) -> int:
    click.echo(masked(message), err=True)
    return code
