"""One run: a camera's frames through the pipeline into a results file.

How it looks on the terminal is the command line's business; it is called back after every
frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from qlvit_edge.camera.base import Camera, Frame, LiveCamera
from qlvit_edge.camera.calibrated import CalibratedCamera
from qlvit_edge.camera.calibration import Loaded
from qlvit_edge.camera.folder import PictureCamera
from qlvit_edge.camera.report import CameraReport
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.choices import VERDICTS
from qlvit_edge.credentials import masked
from qlvit_edge.differential.differential import Differential
from qlvit_edge.fields.finder import CROP_MARGIN
from qlvit_edge.guard.statement import UNGUARDED, RunStatement
from qlvit_edge.microscope import life, losses
from qlvit_edge.microscope.computing import Computing
from qlvit_edge.microscope.fitness import frame_finding
from qlvit_edge.microscope.lengths import Lengths
from qlvit_edge.microscope.loop import Answered, Loop
from qlvit_edge.microscope.pause import Pause
from qlvit_edge.microscope.pictures import Pictures, folder_for, require_apart
from qlvit_edge.microscope.pipeline import ClassifiedCell, Pipeline, Times, require_scale
from qlvit_edge.microscope.placing import tracker_for
from qlvit_edge.microscope.records import FrameRecord, Outcome, RunInfo
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.run_count import RunCount
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.microscope.stopping import StopRequest
from qlvit_edge.microscope.summary import Summary, summary_of
from qlvit_edge.microscope.writer import Steps, Writer
from qlvit_edge.slide.tracker import SlideTracker
from qlvit_edge.version import installed_version


class Session:
    """A run that goes on, or is over.

    Attributes:
        settings: what was asked for.
        computing: what computes the answers.
        classifier: the loaded model, on the CPU.
        frames: frames stored so far.
        counts: cells by label so far.
        verdicts: cells by verdict so far.
        count: the differential so far.
        times: where the time goes.
        unusual: images seen that are not plain 8-bit RGB, by kind; of folders only.
        report: what the camera lost, and what else happened to it.
        incomplete: whether a folder or video was not seen whole: parts of it are damaged.
        cut: cells cut by the frame's edge so far.
        census: cells that the counting frame counted so far, by kind; empty unless asked for.
        abstained: cells that were not fit to be judged so far, by reason.
        unfit_frames: frames that were not, by reason.
        finding: whether the cells so far are what the model was made for; None where its file
            has no guard that could tell.
        calibration: of the camera; None where none was named.
        lengths: sizes of the cells so far, and whether they are in µm.
        pause: whether the run is to wait.
        newest: the frame looked at last, with its cells; None before the first.
        held_up: frames of a live camera left out so far, while too many waited for the disk.
        unanswered: frames stored so far on which the runtime failed twice.
        slide: the cells so far, each once; None where they are counted in each frame.
        life: signs that the run goes on.
    """

    def __init__(self, settings: Settings, computing: Computing | None = None) -> None:
        """Load the model, unless a run before has loaded it with the same settings.

        Raises:
            CalibrationError: the calibration file cannot be used, or goes against ``cell_size``.
            ModelFileError: the model file cannot be used.
            DeviceError: the runtime or the delegate's library is not installed.
            DataError: the analyser's differential is not one in the model's classes, or a
                region is in µm and no scale is known.
        """
        self.settings = settings
        self.calibration = None if settings.calibration is None else Loaded(settings.calibration)
        self.lengths = Lengths(self.calibration, settings.cell_size)
        require_scale(settings.find, self.lengths.um_per_pixel)
        self.computing = Computing(settings) if computing is None else computing
        self.classifier = self.computing.classifier
        self.frames = self.cut = 0
        self.counts = Counter(dict.fromkeys(self.classifier.labels, 0))
        self.verdicts = Counter[str](dict.fromkeys(VERDICTS, 0))
        self.count = RunCount(self.classifier, settings.stop_at, settings.analyser)
        self.times = Times()
        self.unusual: Counter[str] = Counter()
        self.report = CameraReport()
        self.census, self.abstained = Counter[str](), Counter[str]()
        self.unfit_frames: Counter[str] = Counter()
        guard = self.classifier.metadata.guard
        self._statement = None if guard is None else RunStatement(guard)
        self.finding = None if self._statement is None else self._statement.finding()
        self.slide: SlideTracker | None = None
        self._stored_source = False
        self.pause, self.life = Pause(), life.Life()
        self.newest: tuple[Frame, tuple[ClassifiedCell, ...]] | None = None
        self._results: Results | None = None
        self._pictures: Pictures | None = None
        self.held_up = self.unanswered = 0

    @property
    def restarts(self) -> int:
        """Times the model's process was started again."""
        return self.computing.restarts

    @property
    def pictures_stopped(self) -> str | None:
        """Why no more pictures are saved; None while they are, or where none are wanted."""
        return None if self._pictures is None else self._pictures.stopped

    @property
    def is_live(self) -> bool:
        """Whether the camera goes on whether or not anybody looks."""
        return not self._stored_source

    @property
    def outcome(self) -> Outcome:
        """How the run ended, or "running"."""
        return "running" if self._results is None else self._results.outcome

    @property
    def incomplete(self) -> bool:
        """Whether parts of a folder or video, or all there was, were left out."""
        left_out, seen = self.report.dropped + self.unanswered, self.frames - self.unanswered
        return left_out > 0 and (self._stored_source or seen == 0)

    def losses(self) -> dict[str, int]:
        """Return frames lost so far, by where; see `qlvit_edge.microscope.losses`."""
        return {
            place: frames
            for place, frames in (
                (losses.OVERTAKEN, self.report.overtaken),
                (losses.HELD_UP, self.held_up),
                (losses.UNANSWERED, self.unanswered),
            )
            if frames
        }

    def run(
        self,
        stop: StopRequest,
        *,
        opened: Callable[[], None],
        after_frame: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        """Go on until the source ends, enough frames were seen or a stop was asked for.

        Args:
            stop: the user's wish to stop.
            opened: called once, when camera and results file are open.
            after_frame: called after every frame, in a thread of the run's.
            note: called with what a user should know, from any thread.

        Raises:
            CameraError: the camera is not there; nothing was written.
            CameraStalledError: it stopped giving frames; results until then are kept.
            ResultsLostError: the results file was deleted, moved or replaced.
            DataError: the results file cannot be written or stays locked, or pictures would be
                saved among the source's own.
            DeviceError: the runtime fails on images of the model's own file.
        """
        settings, self.times = self.settings, Times()
        self.computing.begin(note, lambda: stop.wanted, lambda: self.life.waits(life.FOR_MODEL))
        scale, labels = self.lengths.um_per_pixel, self.classifier.labels
        self._pictures = Pictures(settings, labels, scale, note)
        calibration = self.calibration
        wanted = None if calibration is None else calibration.content.wanted()
        source = open_camera(settings.source, wanted)
        self.report, source.report.listener = source.report, note
        source.report.waits = lambda: self.life.waits_for_more(life.FOR_CAMERA)
        self._stored_source = not isinstance(source, LiveCamera)
        if isinstance(source, PictureCamera):
            self.unusual = source.unusual
        self.slide = tracker_for(source, settings.count_once, settings.find)
        self.count.once_by(self.slide)
        for folder in filter(None, (settings.save, settings.keep)):
            require_apart(folder, source)
        with (
            folder_for(settings.save),
            folder_for(settings.keep),
            source if calibration is None else CalibratedCamera(source, calibration) as camera,
            Results(settings.out, self._info(), note=note) as results,
        ):
            self._results, results.pauses = results, self.pause.stored
            opened()
            try:
                one_camera = not isinstance(source, PictureCamera)
                self._loop(camera, results, stop, after_frame, note, one_camera)
            finally:
                results.dropped_frames, results.losses = self.report.dropped, self.losses()
            ended: Outcome = "counted" if self.count.is_full else "finished"
            results.finish("stopped" if stop.wanted else ended)

    def summary(self) -> Summary | None:
        """Return what came out so far; None before the results file was open, and of a refusal."""
        if self._results is None or self._results.withdrawn:
            return None
        return summary_of(self, self._results)

    def differential(self) -> Differential:
        """Return the differential of the cells stored so far."""
        return self.count.differential(None if self.finding is None else self.finding.familiar)

    def _loop(
        self,
        camera: Camera,
        results: Results,
        stop: StopRequest,
        after_frame: Callable[[], None],
        note: Callable[[str], None],
        one_camera: bool,
    ) -> None:
        settings = self.settings
        pipeline = Pipeline(
            self.classifier,
            cell_size=self.lengths.cell_size,
            find=settings.find,
            um_per_pixel=self.lengths.um_per_pixel,
            times=self.times,
            one_camera=one_camera,
            infer=self.computing.infer,
        )
        frames = self.pause.frames(
            camera.frames(),
            live=self.is_live,
            show=lambda frame: setattr(self, "newest", (frame, ())),
            stopped=lambda: stop.wanted,
            waited=self._paused,
        )
        with self._storing(results, stop, note) as writer:
            Loop(self, pipeline, writer, stop, after_frame, note).run(frames)

    def _paused(self, seconds: float) -> None:
        """Note that a pause goes on, for so long since the last time."""
        self.times.leave_out("capture", seconds)
        self.life.waits_for_more(life.PAUSED)

    @contextmanager
    def _storing(
        self, results: Results, stop: StopRequest, note: Callable[[str], None]
    ) -> Iterator[Writer[Answered, FrameRecord]]:
        """A writer for this run's results; waiting for it at the end counts as storing."""

        def check() -> None:
            results.require_in_place()
            results.clock.check(note)

        steps: Steps[Answered, FrameRecord] = Steps(
            subject=self.settings.out,
            note_down=lambda found: self._note_down(found, results),
            store=lambda records: self._store(results, records),
            check=check,
            hurried=lambda: stop.wanted,
            say=note,
            failed=stop.wake,
            waits=lambda: self.life.waits(life.FOR_RESULTS),
        )
        with ExitStack() as closing:
            writer = closing.enter_context(Writer(steps))
            yield writer
            with self.times.measure("store"):
                closing.close()

    def _note_down(self, found: Answered, results: Results) -> FrameRecord:
        """Save a frame's picture, where that is wanted; in the writer's thread."""
        frame, cells = found.frame, found.cells
        if self._statement is not None:
            for cell in cells:
                self._statement.add(cell.classification.judgement)
        saved = kept = None
        if self._pictures is not None:
            saved, kept = self._pictures.save(results.run_id, frame, cells, found.census)
        unfit: str | None = losses.NO_ANSWER
        if not found.lost:
            unfit = frame_finding(frame.image, cells, self.classifier.metadata.guard)
        frame = replace(frame, timestamp=results.clock.utc(frame.monotonic))
        record = FrameRecord.of(frame, cells, saved, unfit, found.placement, found.census, kept)
        return replace(record, backend=found.backend)

    def _store(self, results: Results, records: Sequence[FrameRecord]) -> None:
        """Store frames and count them, once they are safe; in the writer's thread."""
        results.dropped_frames, results.losses = self.report.dropped, self.losses()
        if self._statement is None:
            results.statement = UNGUARDED
        else:
            self.finding = self._statement.finding()
            results.statement, results.familiar = self.finding.sentence, self.finding.familiar
        if self.slide is not None:
            results.doubtful = self.slide.doubtful_cells()
        results.add_frames(records)
        self.count.add(records, results.doubtful)
        for record in records:
            self.frames += 1
            self.counts.update(map(str, record.column("label")))
            self.verdicts.update(map(str, record.column("verdict")))
            if self.settings.find in ("cells", "all", "bright"):
                self.lengths.add(record)
            self.census.update(record.census or {})
            self.cut += sum(bool(cut) for cut in record.column("cut"))
            self.abstained.update(record.abstained())
            self.unanswered += record.unfit == losses.NO_ANSWER
            if record.backend is not None:
                self.computing.frames[record.backend.name] += 1
            if record.unfit is not None:
                self.unfit_frames[record.unfit] += 1
        answered = sum(record.unfit != losses.NO_ANSWER for record in records)
        self.life.stored(len(records), answered)

    def _info(self) -> RunInfo:
        return RunInfo(
            model=self.classifier.metadata.name,
            model_sha256=self.classifier.sha256,
            runtime=self.settings.runtime,
            kernels=self.computing.kernels_used,
            camera=masked(self.settings.source),
            cell_size=self.lengths.cell_size or 0.0,
            crop_margin=CROP_MARGIN,
            accept_at=self.classifier.accept_at,
            program=f"qlvit-edge {installed_version()}",
            find=self.settings.find,
            calibration=None if self.calibration is None else self.calibration.stored(),
            sample=self.settings.sample,
            operator=self.settings.operator,
            counted_once=self.slide is not None,
        )
