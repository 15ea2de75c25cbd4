"""One run, and those that are asked for on its page."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qlvit_edge.errors import CameraError, ModelRolledBackError, QLViTEdgeError

if TYPE_CHECKING:
    from qlvit_edge.cli.supervised import Service
    from qlvit_edge.microscope.session import Session
    from qlvit_edge.microscope.stopping import StopRequest
    from qlvit_edge.page.orders import Sample
    from qlvit_edge.page.server import PageServer


def run_all(
    session: Session,
    stop: StopRequest,
    page: PageServer | None,
    *,
    as_json: bool,
    service: Service,
    watch: Callable[[Session], None],
) -> None:
    """Run, and run again as long as the page asks for it; each run has its summary.

    Where the page stays, a run that fails is said there and ends the program no more than others
    do; the program's exit code is that of the first that failed all the same. Only a model that is
    rolled back ends it: the next start is another model's. A service waits for a camera that is
    not there, and begins when it is.

    Args:
        session: the first run.
        stop: the user's wish to stop.
        page: the page; None for none.
        as_json: print summaries as JSON.
        service: what the service manager is told.
        watch: called after every frame, in a thread of the run's.

    Raises:
        QLViTEdgeError: a run failed, see `Session.run`.
        click.exceptions.Exit: with code 1: images of a folder or frames of a video were left out.
    """
    from qlvit_edge.microscope.stopping import Stopped

    failed: QLViTEdgeError | None = None
    incomplete, is_first = False, True
    sample: Sample | None = None
    absent: CameraError | None = None
    while True:
        try:
            if absent is not None:
                _note(f"{absent}; it is tried again")
                service.wait_for_camera(absent, stop)
                absent, session = None, _again(session)
            if sample is not None:
                with stop.interruptible():
                    session = _another(session, sample, has_failed=failed is not None)
            if page is not None and not is_first:
                page.view.begin(session)
            service.follow(session)
            _run(session, stop, page, as_json=as_json, watch=watch)
            _tell(page, None)
        except Stopped:
            pass
        except QLViTEdgeError as error:
            _tell(page, error)
            if service.is_supervised and isinstance(error, CameraError):
                absent, is_first = error, False
                continue
            never_began = is_first and session.outcome == "running"
            ends = never_began or isinstance(error, ModelRolledBackError)
            if page is None or not page.view.orders.stays or ends:
                raise
            failed = failed or error
            _note(f"error: {error}")
        incomplete |= session.incomplete
        is_first = False
        sample = None if page is None else _order(page, stop, service)
        if sample is None:
            break
    if failed is not None:
        raise failed
    if incomplete:
        click.get_current_context().exit(1)


def _again(session: Session) -> Session:
    """Return a run like one that never began."""
    from qlvit_edge.microscope.session import Session

    return Session(session.settings, session.computing)


def _another(session: Session, sample: Sample, *, has_failed: bool) -> Session:
    """Return a run with the same settings of another sample."""
    from qlvit_edge.microscope.session import Session

    settings = replace(session.settings, sample=sample.name, operator=sample.operator)
    # A run that failed may have lost its model.
    if has_failed:
        session.computing.close()
        return Session(settings)
    return Session(settings, session.computing)


def _order(page: PageServer, stop: StopRequest, service: Service) -> Sample | None:
    """Return what the page asks for next; None where the program is to end."""
    from qlvit_edge.microscope.life import FOR_SAMPLE
    from qlvit_edge.microscope.stopping import Stopped

    orders = page.view.orders
    orders.run_has_ended()
    stop.next_run()
    try:
        with stop.interruptible():
            if orders.stays:
                _note("the page stays for another sample; Ctrl-C ends the program")
            return orders.following(lambda: service.waits(FOR_SAMPLE))
    except Stopped:
        return None


def _run(
    session: Session,
    stop: StopRequest,
    page: PageServer | None,
    *,
    as_json: bool,
    watch: Callable[[Session], None],
) -> None:
    """Run, and say what came out, also when the camera failed in between."""
    from qlvit_edge.cli.live import LiveView, print_summary, show_lost, show_unusual

    try:
        with LiveView(session) as view:
            note = view.note if page is None else page.noting(view.note)
            after_frame = view.update if page is None else page.looking(view.update)

            def seen() -> None:
                after_frame()
                watch(session)

            session.run(stop, opened=view.start, after_frame=seen, note=note)
    finally:
        gone = suppress(OSError) if stop.requested is signal.SIGHUP else nullcontext()
        with gone:
            show_unusual(session)
            summary = session.summary()
            if summary is not None:
                print_summary(summary, as_json=as_json)
                show_lost(summary)


def _tell(page: PageServer | None, failure: QLViTEdgeError | None) -> None:
    """Say on the page that the run has ended, and why."""
    if page is not None:
        page.view.end(None if failure is None else str(failure))


def _note(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        click.echo(text, err=True)
