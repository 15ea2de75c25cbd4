"""`run installed`: the store's active model, its start counted, its first frames watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.delivery_options import means_installed, store_of, trusted
from qlvit_edge.errors import (
    AddressError,
    CameraError,
    CameraStalledError,
    DeviceError,
    GateError,
    ModelFileError,
    ModelRolledBackError,
    QLViTEdgeError,
)
from qlvit_edge.text import plain

if TYPE_CHECKING:
    from qlvit_edge.delivery.store import Kept
    from qlvit_edge.delivery.trial import Started, Trials, Watch
    from qlvit_edge.microscope.session import Session

Prepare = Callable[[str], "Session"]


class NamedModel:
    """A model that a run was given by a file or a name: nothing is counted or watched."""

    def __init__(self, model: str) -> None:
        self._model = model

    def prepare(self, prepare: Prepare) -> Session:
        """Load it."""
        return prepare(self._model)

    def after_frame(self, session: Session) -> None:
        """Nothing is watched."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Nothing is counted."""
        yield


class InstalledModel(NamedModel):
    """The model that is installed on this device."""

    def __init__(self, trials: Trials, say: Callable[[str], None]) -> None:
        from qlvit_edge.delivery.trial import Watch

        super().__init__("")
        self._trials, self._say = trials, say
        self._started: Started | None = None
        self._watch: Watch | None = None
        self._spent = 0.0
        self._session: Session | None = None
        self._warned = False
        self._new_watch = Watch

    def prepare(self, prepare: Prepare) -> Session:
        """Write the start down, load the model, and compare its golden pairs on these kernels.

        One on trial that does not load, or is wrong, gives way to the one before where that loads.

        Raises:
            QLViTEdgeError: neither loads; nobody knows then whether the new one is to blame.
        """
        started = self._started = self._trials.begin()
        budget = started.kept.bundle.manifest.budget_ms
        self._watch = self._new_watch(budget) if started.on_trial else None
        try:
            return _loaded(started.kept, prepare)
        except (ModelFileError, DeviceError, GateError) as error:
            other = self._trials.beside() if started.on_trial else None
            if other is None:
                raise
            try:
                session = _loaded(other, prepare)
            except (ModelFileError, DeviceError, GateError):
                self._take_back()
                self._started = self._watch = None
                raise error from None
            self._roll_back(str(error).partition("; ")[0])
            self._started = self._watch = None
            return session

    def after_frame(self, session: Session) -> None:
        """Watch a model on trial: after enough frames it is marked good.

        Raises:
            ModelRolledBackError: it has failed, and the one before is the active one again.
        """
        watch, started = self._watch, self._started
        if watch is None or started is None:
            return
        if session is not self._session:
            self._session, self._spent = session, 0.0
        spent = session.times.spent.get("infer", 0.0)
        cells = 0 if session.newest is None else len(session.newest[1])
        watch.see(cells, spent - self._spent)
        self._spent = spent
        self._judge(session, watch, started)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Take the start back when this block ends in order; a model's failure ends its trial.

        Raises:
            ModelRolledBackError: in place of an error of the model's, where the one before is the
                active one again.
        """
        try:
            yield
        except ModelRolledBackError:
            raise
        except (AddressError, CameraError, CameraStalledError):  # none of the model's making
            self._take_back()
            raise
        except (ModelFileError, DeviceError) as error:
            self._fail(str(error).partition("; ")[0])
            self._take_back()
            raise
        except (QLViTEdgeError, OSError, click.exceptions.Exit, SystemExit, KeyboardInterrupt):
            self._take_back()
            raise
        else:
            self._take_back()

    def _judge(self, session: Session, watch: Watch, started: Started) -> None:
        reason = watch.failure(unanswered=session.unanswered, restarts=session.restarts)
        if reason is not None:
            self._fail(reason)
        elif watch.passed:
            try:
                self._trials.mark_good(started)
                self._watch = None
            except (OSError, QLViTEdgeError) as error:
                self._warn(f"the model stays on trial: {error}")

    def _fail(self, reason: str) -> None:
        """End a trial.

        Raises:
            ModelRolledBackError: the model before is the active one again.
        """
        started = self._started
        if started is None or not started.on_trial:
            return
        title = self._roll_back(reason)
        if title is None:
            self._warn(f"{started.kept.slot.title}: {reason}; there is no model to go back to")
            return
        self._watch = self._started = None
        raise ModelRolledBackError(
            started.kept.slot.title, reason, f"{title} is active again: start the run again"
        )

    def _roll_back(self, reason: str) -> str | None:
        started = self._started
        if started is None:
            return None
        try:
            title = self._trials.roll_back(started, reason)
        except (OSError, QLViTEdgeError) as error:
            self._warn(f"{started.kept.slot.title}: {reason}; it cannot be rolled back: {error}")
            return None
        if title is not None:
            self._say(f"{started.kept.slot.title} is rolled back to {title}: {reason}")
        return title

    def _take_back(self) -> None:
        if self._started is not None:
            with suppress(QLViTEdgeError):
                self._trials.end(self._started)

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._say(text)


def model_of(model: str) -> NamedModel:
    """Return what MODEL of `run` means.

    Raises:
        QLViTEdgeError: it means the installed one, and what that needs is not there.
    """
    if not means_installed(model):
        return NamedModel(model)
    keys = trusted(None)
    from qlvit_edge.delivery.trial import Trials

    def say(text: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            click.echo(plain(f"note: {text}"), err=True)

    return InstalledModel(Trials(store_of(None), keys, say), say)


def _loaded(kept: Kept, prepare: Prepare) -> Session:
    """Load a model, and refuse it where its golden pairs do not hold."""
    from qlvit_edge.delivery.examination import refused, require_signed

    session = prepare(str(kept.path))
    manifest = kept.bundle.manifest
    try:
        require_signed(session.classifier, manifest)
        failure = session.classifier.golden_pairs().failure
        if failure is not None:
            raise refused(manifest, failure)
    except BaseException:
        session.classifier.close()
        raise
    return session
