"""`qlvit-edge reference`: the daily check on a reference slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.options import Whole, allowance_options, runtime_options
from qlvit_edge.cli.reference_text import print_check, print_history, print_json
from qlvit_edge.cli.result_options import by_option, results_argument, run_option, say
from qlvit_edge.cli.suggestions import SuggestingGroup
from qlvit_edge.text import counted, plain

if TYPE_CHECKING:
    from qlvit_edge.camera.base import Camera
    from qlvit_edge.camera.calibrated import CalibratedCamera
    from qlvit_edge.inference.allowance import Allowance
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.inference.interpreter import Runtime
    from qlvit_edge.reference.checking import FieldsSeen, SlideSeen
    from qlvit_edge.reference.history import Record
    from qlvit_edge.reference.judgement import Judgement
    from qlvit_edge.reference.reference_set import ReferenceSet

    Source = tuple[Camera, Camera | CalibratedCamera]

HISTORY = "history.jsonl"

history_option = click.option(
    "--history",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File with one line per check  [default: {HISTORY} in SET]",
)
chart_option = click.option(
    "--out",
    "page",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="The drift chart, an HTML page  [default: beside the history]",
)


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Check every day that a reference slide is still seen as on the first day.

    \b
    Example:
      qlvit-edge reference make results.sqlite --run 3 --out slide7 --by "A. Reader"
      qlvit-edge reference check blood-nano slide7
      qlvit-edge reference history slide7
    """


@command.command()
@results_argument
@run_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="SET",
    help="New folder for the fields and their table.",
)
@by_option
def make(results: Path, run: int | None, out: Path, by: str) -> None:
    """Make a reference set of a signed run in RESULTS whose frames were kept.

    The folder holds the frames and cells.csv, one row per cell with the class that people gave it.
    That the run was exported is recorded in RESULTS.

    \b
    Example:
      qlvit-edge reference make results.sqlite --run 3 --out slide7 --by "A. Reader"
    """
    from qlvit_edge.reference.making import make_reference
    from qlvit_edge.review.store import ReviewStore

    with ReviewStore(results, note=say) as store:
        counts = make_reference(store, store.run(run), out, by)
    for label in sorted(counts):
        click.echo(plain(f"{label}: {counted(counts[label], 'cell')}"))
    next_step(f"qlvit-edge reference check MODEL {shell_word(out)}")


@command.command()
@click.argument("model")
@click.argument("reference", metavar="SET", type=click.Path(path_type=Path))
@click.option(
    "--camera",
    metavar="SOURCE",
    help="Look at the reference slide itself too, through this camera; see `run --camera`.",
)
@click.option(
    "--calibration", type=click.Path(path_type=Path), metavar="FILE", help="Of the camera."
)
@click.option(
    "--cells",
    type=Whole(min=5),
    default=100,
    show_default=True,
    help="With --camera: end after so many cells.",
)
@click.option(
    "--frames",
    type=Whole(min=1),
    default=2000,
    show_default=True,
    help="With --camera: end after so many frames in any case.",
)
@history_option
@chart_option
@click.option(
    "--new-baseline", is_flag=True, help="Learn the limits anew from this check on, as after a "
    "new lamp."
)  # fmt: skip
@runtime_options
@allowance_options
@click.option("--json", "as_json", is_flag=True, help="Print the check as JSON.")
def check(
    model: str,
    reference: Path,
    camera: str | None,
    calibration: Path | None,
    cells: int,
    frames: int,
    history: Path | None,
    page: Path | None,
    new_baseline: bool,
    kernels: str,
    runtime: str,
    as_json: bool,
    allowance: Allowance,
) -> None:
    """Run MODEL on the reference set SET, note the result, and say whether it is as usual.

    The stored fields tell whether this device still computes what it did; with --camera the slide
    itself tells whether light, focus, colour and stain are what they were. For research use only.
    Exit code 1: a limit is broken, an answer or a part was changed, or lines of the history are
    damaged.

    \b
    Example:
      qlvit-edge reference check blood-nano slide7
      qlvit-edge reference check blood-nano slide7 --camera picamera2 --calibration 100x.toml
    """
    from qlvit_edge.files import ensure_writable
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.reference.history import append_record, read_history
    from qlvit_edge.reference.judgement import judge
    from qlvit_edge.reference.reference_set import read_reference

    if calibration is not None and camera is None:
        raise click.UsageError("--calibration: it is of a camera; give --camera too")
    known = read_reference(reference)
    source = None if camera is None else _named_camera(camera, calibration)
    history = history or reference / HISTORY
    page = _page(history, page, known)
    ensure_writable(history.absolute().parent)
    records, damaged = read_history(history)
    with Classifier(
        model, kernels=kernels, runtime=cast("Runtime", runtime), allowance=allowance
    ) as classifier:
        seen = _see_fields(classifier, known)
        slide = None if source is None else _see_slide(classifier, source, cells, frames)
        today = _record(model, classifier, known, seen, slide, calibration, begins=new_baseline)
    judgement = judge(records, today)
    today = judgement.noted(today)
    append_record(history, today)
    _draw(page, [*records, today], judgement, len(damaged))
    if as_json:
        print_json(today, judgement, damaged)
    else:
        print_check(today, seen, slide, judgement)
        count = counted(len(records) + 1, "check")
        click.echo(plain(f"history: {history} ({count}); chart: {page}"))
    _finish(history, damaged, today.warnings, as_json=as_json)


@command.command("history")
@click.argument("reference", metavar="SET", type=click.Path(path_type=Path))
@history_option
@chart_option
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def history_command(
    reference: Path, history: Path | None, page: Path | None, as_json: bool
) -> None:
    """List the checks of the reference set SET, and draw its chart again.

    Exit code 1: lines of the history are damaged; they are named.

    \b
    Example:
      qlvit-edge reference history slide7 --out chart.html
    """
    from qlvit_edge.errors import DataError
    from qlvit_edge.files import json_text
    from qlvit_edge.reference.history import read_history

    history = history or reference / HISTORY
    records, damaged = read_history(history)
    if not records:
        remedy = "make the first with `qlvit-edge reference check`"
        raise DataError(history, "it holds no check", remedy)
    page = _page(history, page, None)
    _draw(page, records, None, len(damaged))
    if as_json:
        click.echo(json_text([record.model_dump(mode="json") for record in records]))
    else:
        print_history(records)
        click.echo(plain(f"chart: {page}"))
    _finish(history, damaged, [], as_json=as_json)


def _page(history: Path, page: Path | None, known: ReferenceSet | None) -> Path:
    """Return where the chart goes, if that is not what is read here.

    Raises:
        DataError: it is, or there is no place for either file.
    """
    from qlvit_edge.errors import DataError
    from qlvit_edge.files import require_other, require_target
    from qlvit_edge.reference.reference_set import TABLE

    page = page or history.with_suffix(".html")
    if page.absolute() == history.absolute():
        raise DataError(page, "is the history itself", "name an .html file with --out")
    for target in (history, page):
        require_target(target)
        if not target.absolute().parent.is_dir():
            raise DataError(target, "its folder does not exist", f"make {target.parent} first")
        if known is not None:
            pictures = [field.path for field in known.fields]
            require_other(target, known.folder / TABLE, *pictures)
    require_other(page, history)
    return page


def _see_fields(classifier: Classifier, known: ReferenceSet) -> FieldsSeen:
    from qlvit_edge.cli.live import show_start
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.reference.checking import see_fields

    with progress_bar("checking", len(known.fields)) as advance:
        seen = see_fields(classifier, known, advance)
    show_start(classifier)
    return seen


def _named_camera(source: str, calibration: Path | None) -> Source:
    """Return a camera, and what is to be entered for it: itself, or itself calibrated."""
    from qlvit_edge.camera.calibrated import CalibratedCamera
    from qlvit_edge.camera.calibration import Loaded
    from qlvit_edge.camera.sources import open_camera

    loaded = None if calibration is None else Loaded(calibration)
    camera = open_camera(source, None if loaded is None else loaded.content.wanted())
    camera.report.listener = lambda text: say(f"note: {text}")
    return camera, camera if loaded is None else CalibratedCamera(camera, loaded)


def _see_slide(classifier: Classifier, source: Source, cells: int, frames: int) -> SlideSeen:
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.reference.checking import see_slide

    camera, opened = source
    with progress_bar("looking at the slide", cells) as advance:
        shown = 0

        def show(count: int) -> None:
            nonlocal shown
            for _ in range(min(count, cells) - shown):
                advance()
            shown = max(shown, min(count, cells))

        return see_slide(classifier, camera, opened, cells=cells, most_frames=frames, advance=show)


def _record(
    model: str,
    classifier: Classifier,
    known: ReferenceSet,
    seen: FieldsSeen,
    slide: SlideSeen | None,
    calibration: Path | None,
    *,
    begins: bool,
) -> Record:
    from datetime import UTC, datetime

    from qlvit_edge.files import sha256
    from qlvit_edge.reference.history import Record
    from qlvit_edge.version import installed_version

    return Record(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reference=known.sha256,
        model=plain(model)[:1000],
        model_sha256=classifier.sha256,
        program=" ".join(("qlvit-edge", installed_version())),
        runtime=str(classifier.arithmetic.runtime),
        kernels=classifier.kernels_used,
        camera="" if slide is None else slide.camera[:1000],
        calibration="" if calibration is None else sha256(calibration.read_bytes()),
        begins=begins,
        labelled=seen.labelled,
        located=seen.located,
        compared=seen.compared,
        agreed=seen.agreed,
        extra=seen.extra,
        answers=seen.answers,
        counts=dict(seen.counts),
        frames=0 if slide is None else slide.frames,
        camera_counts={} if slide is None else dict(slide.counts),
        measures=seen.measures if slide is None else slide.measures,
    )


def _draw(page: Path, records: list[Record], judgement: Judgement | None, damaged: int) -> None:
    from qlvit_edge.files import write_text
    from qlvit_edge.reference.chart import render

    write_text(page, render(records, judgement, damaged))


def _finish(history: Path, damaged: list[int], warnings: list[str], *, as_json: bool) -> None:
    if damaged:
        numbers = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        say(
            plain(
                f"warning: {history}: line {numbers} is damaged and left out; keep a copy of the "
                "file and remove it"
            )
        )
    if warnings or damaged:
        click.get_current_context().exit(1)
    next_step("look at today's slides", as_json=as_json)
