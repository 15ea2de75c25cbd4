"""`qlvit-edge run`: find and classify cells in a camera's frames."""

from __future__ import annotations

import functools
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from qlvit_edge.cli.config_trial import end_trial, is_only_tried
from qlvit_edge.cli.count_options import analyser_option, stop_at_option
from qlvit_edge.cli.delegate_options import delegate_options
from qlvit_edge.cli.delivery_options import model_path
from qlvit_edge.cli.options import (
    Number,
    Whole,
    accept_at_option,
    allowance_options,
    runtime_options,
    white_level_option,
)
from qlvit_edge.cli.run_installed import model_of
from qlvit_edge.cli.run_series import run_all
from qlvit_edge.cli.sample_options import sample_options
from qlvit_edge.cli.serving import certificate_options, page_of, require_page
from qlvit_edge.cli.supervised import Service, config_option

if TYPE_CHECKING:
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.delegates import Delegate
    from qlvit_edge.microscope.session import Session


class Sought(click.ParamType[str]):
    """What is looked for in a frame, see `qlvit_edge.fields.target`."""

    name = "what"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, if it names something."""
        from qlvit_edge.fields.target import target_of

        try:
            target_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.command("run")
@click.argument("model")
@config_option
@click.option(
    "--camera",
    "source",
    required=True,
    metavar="SOURCE",
    help="picamera2, usb:N, a video, an image, a folder, watch:FOLDER, http://…, rtsp://…, "
    "simulated:FOLDER[?seed=N&fps=N&stage=hand].",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `camera calibrate` found: even light, and lengths in µm.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="SQLite file for the results; a new run is added to an existing one.",
)
@click.option("--frames", type=Whole(min=1), help="Stop after so many frames.")
@stop_at_option
@analyser_option
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for pictures of the frames with their cells drawn in.",
)
@click.option(
    "--cell-size",
    type=Number(min=0.01, max=1.0),
    help="Diameter of a usual white cell as a share of the frame's height [default: from the "
    "red cells in each frame].",
)
@click.option(
    "--find",
    type=Sought(),
    metavar="WHAT",
    default="cells",
    show_default=True,
    help="What to classify: cells, the white cells in a frame; all, these, with red cells and "
    "platelets counted beside; bright, bright cells on a dark ground; none, the frame as a whole; "
    "region:X,Y,W,H, a part of it in pixels, or with um at the end in µm.",
)
@click.option(
    "--count-once/--no-count-once",
    default=None,
    help="Whether to recognise places of the slide that were seen before and count each cell there "
    "once, not in every frame [default: with live cameras].",
)
@sample_options
@accept_at_option
@click.option(
    "--threads",
    type=Whole(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Threads that run the model.",
)
@delegate_options("The CPU computes the same model while the Edge TPU is lost.")
@runtime_options
@white_level_option
@allowance_options
@click.option(
    "--serve",
    metavar="[HOST:PORT]",
    is_flag=False,
    flag_value="127.0.0.1:8321",
    help="Show the run in a browser while it goes on, at 127.0.0.1:8321 unless told otherwise; "
    "any other machine needs the link that is printed.",
)
@click.option(
    "--stay/--no-stay",
    default=None,
    help="Whether the page stays when the run has ended, for the next sample; Ctrl-C ends it "
    "[default: on a terminal].",
)
@certificate_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str,
    config: Path | None,
    source: str,
    calibration: Path | None,
    out: Path,
    frames: int | None,
    stop_at: int | None,
    analyser: str | None,
    save: Path | None,
    sample: str | None,
    operator: str | None,
    keep: Path | None,
    cell_size: float | None,
    find: str,
    count_once: bool | None,
    accept_at: float | None,
    threads: int,
    delegate: Delegate | None,
    kernels: str,
    runtime: str,
    allowance: Allowance,
    serve: str | None,
    stay: bool | None,
    certificate: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Find and classify the white cells in a camera's frames with MODEL.

    MODEL is a .tflite file, a chain, the name of a bundled model, or `installed`, the model that
    `models install` put on this device. A frame is counted once its results are on the disk, a
    moment after it was seen. Ctrl-C, SIGTERM or a closed terminal stop cleanly. The summary is the
    differential: exact 95 % limits per class; what is no white cell and what is not accepted stands
    beside it. With live cameras each cell of the slide is counted once, as with --count-once;
    otherwise a cell that several frames show is counted in each. For research use only, not for
    diagnosis.

    Damaged frames are left out and counted. A runtime that hangs or crashes is started again; a
    frame on which it fails twice is stored without cells. Exit code 1 when images of a folder, or
    frames of a video, were lost in one of these ways; a live camera ends with 2 when it gives no
    frame for so long, and 1 when an installed model fails in its trial and the one before is active
    again. Where the page stays for further runs (--stay), the code is that of the first run that
    failed.

    --config FILE sets any of the options, MODEL among them; see `qlvit-edge config`. Under systemd
    the run says when it is ready and that it is alive, waits for a camera that is not there, and
    ends with 75 where another start may help.

    \b
    Example:
      qlvit-edge run blood-nano --camera picamera2 --out results.sqlite
      qlvit-edge run blood-nano --camera usb:0 --out results.sqlite --stop-at 100
      qlvit-edge run installed --camera picamera2 --out results.sqlite
      qlvit-edge run wbc.tflite --camera simulated:fields/ --out results.sqlite --frames 100
      qlvit-edge run --config run.toml
      sqlite3 -box results.sqlite "SELECT * FROM class_counts WHERE run = 1"
    """
    from qlvit_edge.microscope.stopping import Stopped, StopRequest

    require_page(serve, certificate, key, stay=stay)
    prepare = functools.partial(
        _prepare,
        source=source,
        calibration=calibration,
        out=out,
        frames=frames,
        stop_at=stop_at,
        analyser=analyser,
        save=save,
        sample=sample,
        operator=operator,
        keep=keep,
        cell_size=cell_size,
        find=find,
        count_once=count_once,
        accept_at=accept_at,
        threads=threads,
        kernels=kernels,
        runtime=runtime,
        delegate=delegate,
        allowance=allowance,
    )
    if is_only_tried():
        end_trial(prepare(model_path(model)))
        return
    service, chosen = Service(config), model_of(model)
    with StopRequest() as stop, service.until_it_ends(stop), chosen.counted():
        try:
            with stop.interruptible():
                session = chosen.prepare(prepare)
        except Stopped:
            pass
        if stop.requested is not None:
            _end_before_the_run(stop.requested)
        service.has_begun(session)
        with page_of(session, stop, serve, certificate, key, stay=stay) as page:
            run_all(session, stop, page, as_json=as_json, service=service, watch=chosen.after_frame)


def _end_before_the_run(number: signal.Signals) -> NoReturn:
    """Say that nothing was run, and exit as a shell says that a signal ended a command."""
    with suppress(OSError):  # the terminal may be what has gone
        click.echo(f"interrupted ({number.name}) before the run began", err=True)
    raise SystemExit(128 + number)


def _prepare(model: str, **options: Any) -> Session:
    """Load the model, before anything is opened or written."""
    from qlvit_edge.microscope.session import Session
    from qlvit_edge.microscope.settings import Settings

    return Session(Settings(model=model, **options))
