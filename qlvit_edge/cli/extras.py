"""Commands that need an optional dependency say so before they start."""

from __future__ import annotations

import importlib.util

import click

from qlvit_edge.errors import MissingExtraError


def require(extra: str, *modules: str) -> None:
    """Check, without importing them, that the modules of an extra are installed.

    Args:
        extra: name of the optional dependency group, such as ``"train"``.
        modules: top-level import names the command is about to use.

    Raises:
        MissingExtraError: at least one is missing; the message names the command,
            what is missing and how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return
    context = click.get_current_context(silent=True)
    subject = context.command_path if context is not None else "qlvit-edge"
    verb = "which is not installed" if len(missing) == 1 else "which are not installed"
    raise MissingExtraError(
        subject,
        f"needs {' and '.join(missing)}, {verb}",
        f"pip install 'qlvit-edge[{extra}]'",
    )
