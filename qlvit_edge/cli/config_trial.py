"""`config check`: the command line of a run goes as far as a run would, and then no further."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qlvit_edge.microscope.session import Session

_MARK = "qlvit_edge.only_tried"


def try_command(context: click.Context) -> None:
    """Call a command of a run so that nothing runs.

    Args:
        context: of the command, with its values; see `click.Command.make_context`.

    Raises:
        click.UsageError: values do not go together.
        QLViTEdgeError: the model, the calibration, the camera's name or the results cannot be.
    """
    context.meta[_MARK] = True
    context.invoke(_callback(context.command), **context.params)


def is_only_tried() -> bool:
    """Whether the command that is called is to end before it opens or writes anything."""
    return bool(click.get_current_context().meta.get(_MARK))


def end_trial(session: Session) -> None:
    """Look at what a run would open next: the results file and the camera; the model is loaded.

    A camera that is not connected is not looked for.

    Raises:
        DataError: the results cannot be stored there.
        CameraError: the camera's name is none, or a folder is not there.
    """
    from qlvit_edge.camera.sources import open_camera
    from qlvit_edge.microscope.claim import check_target

    session.computing.close()
    session.classifier.close()
    check_target(session.settings.out)
    open_camera(session.settings.source)


def _callback(command: click.Command) -> Any:
    return command.callback
