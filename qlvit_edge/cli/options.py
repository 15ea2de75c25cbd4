"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qlvit_edge.choices import DEVICES, KERNELS, RUNTIMES
from qlvit_edge.text import did_you_mean, is_whole_number, number_of, plain

if TYPE_CHECKING:
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.training.checkpoint import RunConfig

F = TypeVar("F", bound=Callable[..., Any])


class Whole(click.IntRange):
    """A whole number of a range, in ASCII digits, see `qlvit_edge.text.is_whole_number`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, str) and not is_whole_number(value.strip()):
            self.fail(f"{plain(value)!r} is not a whole number", param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


class Number(click.FloatRange):
    """A number of a range, in ASCII digits.

    NaN is none: every comparison with it fails, and so would a limit.
    """

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        if isinstance(value, str):
            try:
                value = number_of(value.strip())
            except ValueError:
                self.fail(f"{plain(value)!r} is not a finite number", param, ctx)
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=DEVICES[0],
    show_default=True,
    help="What computes: auto takes a CUDA device where PyTorch finds one.",
)

found_cell_size_option = click.option(
    "--cell-size",
    type=Number(min=0.01, max=1.0),
    help="With --find-cells: diameter of a usual white cell as a share of the image's height "
    "[default: from the red cells in each image].",
)


def runtime_options(function: F) -> F:
    """Add `--kernels` and `--runtime`, which choose what executes a model file."""
    kernels = click.option(
        "--kernels",
        type=click.Choice(KERNELS),
        default=KERNELS[0],
        show_default=True,
        help="Implementation of the operators.",
    )
    runtime = click.option(
        "--runtime",
        type=click.Choice(RUNTIMES),
        default=RUNTIMES[0],
        show_default=True,
        help="TFLite runtime that executes the model.",
    )
    return kernels(runtime(function))


class WordList(click.ParamType[tuple[str, ...]]):
    """Words with commas between them, each one of a choice and taken once."""

    name = "list"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help shows in place of a value."""
        return f"[{'|'.join(self.choices)}],..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the words."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        for word in words:
            if word not in self.choices:
                choices = ", ".join(self.choices)
                meant = did_you_mean(word, self.choices)
                self.fail(f"{plain(word)!r} is not one of {choices}{meant or '.'}", param, ctx)
        return tuple(dict.fromkeys(words))


def accept_at_option(function: F) -> F:
    """Add `--accept-at`, the probability that an answer must reach to be accepted."""
    option = click.option(
        "--accept-at",
        type=Number(min=0.0, max=1.0),
        help="Smallest probability of an accepted answer, after temperature where the file has a "
        "guard, whose other limits stay  [default: the guard's; 0.8 without one]",
    )
    return option(function)


def groups_options(use: str) -> Callable[[F], F]:
    """Add `--groups` and `--groups-from-name`, of which one at most may be given.

    Args:
        use: what the command does with sources, for the help of `--groups`.
    """

    def add(function: F) -> F:
        by_name = click.option(
            "--groups-from-name",
            "expression",
            metavar="REGEX",
            help="Read the source from the file name: what the expression's groups match.",
        )
        by_file = click.option(
            "--groups",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"CSV (class,file,source,confident): {use}.",
        )
        return by_file(by_name(function))

    return add


def require_one_grouping(groups: Path | None, expression: str | None) -> None:
    """Refuse sources that are said twice.

    Raises:
        UsageError: both are given.
    """
    if groups is not None and expression is not None:
        raise click.UsageError("give --groups or --groups-from-name, not both")


def white_level_option(function: F) -> F:
    """Add `--white-level`, which holds for every picture that the command reads."""
    option = click.option(
        "--white-level",
        type=Whole(1, 65535),
        callback=_use_white_level,
        expose_value=False,
        metavar="N",
        help="Value that is white in pictures of 16 bits, such as 4095 from a camera of 12 bits.",
    )
    return option(function)


def _use_white_level(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    """Read pictures with this white level until the command ends."""
    if value is None:
        return
    from qlvit_edge.preprocess import set_white_level

    set_white_level(value)
    ctx.call_on_close(lambda: set_white_level(None))


def white_level_of(run: RunConfig) -> None:
    """Read pictures as the run was trained on them, where the user says nothing else."""
    from qlvit_edge.preprocess import set_white_level, white_level

    if white_level() is None and run.white_level is not None:
        set_white_level(run.white_level)
        click.get_current_context().call_on_close(lambda: set_white_level(None))


def allowance_options(function: F) -> F:
    """Add what a model file may ask for; the command gets it as one ``allowance``.

    Each option can be set by an environment variable too, such as ``QLVIT_EDGE_MODEL_MEMORY``.
    """

    @functools.wraps(function)
    def with_allowance(*arguments: Any, **options: Any) -> Any:
        allowance = allowance_of(options)
        left = {name: value for name, value in options.items() if name not in _ALLOWED}
        return function(*arguments, allowance=allowance, **left)

    for option in reversed(_ALLOWANCE):
        with_allowance = option(with_allowance)
    return with_allowance  # type: ignore[return-value]


_ALLOWED = ("allow_operators", "any_operator", "model_memory", "model_seconds")


def allowance_of(options: Mapping[str, Any]) -> Allowance:
    """Return what a model file may ask for by a command's options; others may stand among them."""
    from qlvit_edge.inference.allowance import Allowance

    operators, any_operator, memory, seconds = (options[name] for name in _ALLOWED)
    asked: dict[str, Any] = {"operators": operators, "any_operator": any_operator}
    if memory is not None:
        asked["memory_bytes"] = memory * 1_000_000
    if seconds is not None:
        asked.update(load_seconds=seconds, inference_seconds=seconds)
    return Allowance(**asked)


def _operator_names(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> frozenset[str]:
    """Names of operators, separated by commas."""
    if value is None:
        return frozenset()
    from qlvit_edge.modelfile.schema import BUILTIN_OPERATORS

    names = frozenset(part.strip().upper() for part in value.split(","))
    for name in sorted(names):
        if name not in BUILTIN_OPERATORS:
            meant = did_you_mean(name, BUILTIN_OPERATORS)
            finding = f"{plain(name)!r} is not an operator of TFLite{meant or '.'}"
            raise click.BadParameter(finding, ctx, param)
    return names


_ALLOWANCE = (
    click.option(
        "--allow-operators",
        callback=_operator_names,
        metavar="NAMES",
        envvar="QLVIT_EDGE_ALLOW_OPERATORS",
        help="Operators that the model may run besides those of image classifiers: NAME,NAME…",
    ),
    click.option(
        "--any-operator",
        is_flag=True,
        envvar="QLVIT_EDGE_ANY_OPERATOR",
        help="Let the model run every operator that the runtime knows.",
    ),
    click.option(
        "--model-memory",
        type=Whole(min=1),
        metavar="MB",
        envvar="QLVIT_EDGE_MODEL_MEMORY",
        help="Memory that the model's process may take.  [default: 537 plus 4 times the file]",
    ),
    click.option(
        "--model-seconds",
        type=Number(min=0, min_open=True),
        envvar="QLVIT_EDGE_MODEL_SECONDS",
        metavar="S",
        help="Seconds to load the model, and for one inference.  [default: 60, and for an "
        "inference 10 or, if that is more, 20 times the first one]",
    ),
)
