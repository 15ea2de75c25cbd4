"""A run under a service manager: what it waits for, and how it ends so that it is started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qlvit_edge.cli.streams import flush

if TYPE_CHECKING:
    from qlvit_edge.errors import QLViTEdgeError
    from qlvit_edge.microscope.session import Session
    from qlvit_edge.microscope.stopping import StopRequest

F = TypeVar("F", bound=Callable[..., Any])

FIRST_WAIT = 2.0
"""Seconds before a camera that is not there is tried again; doubled each time."""

LAST_WAIT = 30.0
_LOOK_SECONDS = 1.0


def config_option(function: F) -> F:
    """Add ``--config``: a file with every other option of the command."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        callback=_use_file,
        metavar="FILE",
        help="Configuration file (TOML) with any of these options, MODEL among them; see "
        "`qlvit-edge config`. What stands on the command line goes before it.",
    )
    return option(function)


def _use_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Let a file's values be the defaults of this call."""
    if value is not None and not ctx.resilient_parsing:
        from qlvit_edge.configuration.document import read_document

        ctx.default_map = read_document(value, ctx.command).values
    return value


class Service:
    """What the service manager is told of this program; nothing where there is none.

    Attributes:
        is_supervised: whether there is one.
    """

    def __init__(self, config: Path | None = None) -> None:
        """Look whether there is a service manager.

        Args:
            config: the file that the run was configured by, which SIGHUP has read again.
        """
        from qlvit_edge.supervision.heartbeat import Heartbeat
        from qlvit_edge.supervision.notifier import Notifier

        self._notifier = Notifier()
        self._heartbeat = Heartbeat(self._notifier)
        self._config = config
        self._wait = FIRST_WAIT
        self._session: Session | None = None
        self.is_supervised = self._notifier.is_supervised

    def follow(self, session: Session) -> None:
        """Pass the signs of life of this run on from now on."""
        if self.is_supervised:
            self._heartbeat.follow(session)
            session.life.listener = self._sign

    def waits(self, what: str) -> None:
        """Declare what the program waits for between two runs."""
        if self.is_supervised:
            self._heartbeat.sign(what)

    def wait_for_camera(self, error: QLViTEdgeError, stop: StopRequest) -> None:
        """Wait a while before the camera is tried again, longer each time.

        Raises:
            Stopped: the program is to end.
        """
        from qlvit_edge.microscope.life import FOR_CAMERA

        until = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LAST_WAIT)
        with stop.interruptible():
            while (left := until - time.monotonic()) > 0:
                self.waits(f"{FOR_CAMERA}: {error}")
                time.sleep(min(left, _LOOK_SECONDS))

    def has_begun(self, session: Session) -> None:
        """Note that the run was prepared: what fails from now on, another start may mend."""
        self._session = session

    @contextmanager
    def until_it_ends(self, stop: StopRequest) -> Iterator[None]:
        """Run this block; end so that the manager knows whether another start may help.

        Under a manager, a failure of a run that had begun, or of a model that gave way to the one
        before, becomes one that it should start again after, and SIGHUP starts this program anew in
        the same process, with the configuration file as it is then. What else has to be set right
        at the end is set right inside the block.

        Args:
            stop: takes SIGHUP, and is entered.

        Raises:
            RestartableError: the run failed, and a manager is there.
        """
        from qlvit_edge.errors import ModelRolledBackError

        if not self.is_supervised:
            yield
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see `_execute_anew`
        try:
            yield
        except (click.exceptions.Exit, SystemExit):
            if not self._is_to_reload(stop):
                self._notifier.stopping("ended before its time, or images were left out")
                raise
        except Exception as error:
            if not self._is_to_reload(stop):
                self._notifier.stopping(f"failed: {error}")
                if self._session is None and not isinstance(error, ModelRolledBackError):
                    raise
                raise self._restartable(error) from error
            _note(f"error: {error}")
        if self._is_to_reload(stop):
            if self._session is not None:
                self._session.computing.close()
                self._session.classifier.close()
            self._execute_anew()
        self._notifier.stopping("ended")

    def _sign(self, waits_for: str | None) -> None:
        if waits_for is None:
            self._wait = FIRST_WAIT
        self._heartbeat.sign(waits_for)

    def _is_to_reload(self, stop: StopRequest) -> bool:
        return self._config is not None and stop.requested is signal.SIGHUP

    def _restartable(self, error: Exception) -> Exception:
        from qlvit_edge.cli import in_one_line
        from qlvit_edge.errors import RestartableError

        return RestartableError(in_one_line(error).removeprefix("error: "))

    def _execute_anew(self) -> None:
        """Replace this program by a new one of the same process number and arguments.

        Cameras' drivers that were left hanging, and files that libraries left open, stay behind.
        A further SIGHUP waits for the new one to take it: it would end a program that does not yet.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        self._notifier.reloading("starting again with the new configuration")
        _note("the run begins again with the configuration as it is now")
        flush()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 - this very program, with its arguments


def _note(text: str) -> None:
    with suppress(OSError):
        click.echo(text, err=True)
