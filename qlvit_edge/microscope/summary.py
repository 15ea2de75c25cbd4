"""What a run comes to: the figures that are shown, or printed as JSON, at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlvit_edge.credentials import masked
from qlvit_edge.differential.differential import Differential
from qlvit_edge.fields.census import platelets_per_1000_red, red_per_white
from qlvit_edge.guard.statement import UNGUARDED
from qlvit_edge.microscope.pipeline import NEEDED_WORK
from qlvit_edge.microscope.records import Outcome
from qlvit_edge.slide.placement import Count

if TYPE_CHECKING:
    from qlvit_edge.microscope.results import Results
    from qlvit_edge.microscope.session import Session


@dataclass(frozen=True)
class Summary:
    """What came out of a run.

    Attributes:
        model: the model's name.
        model_sha256: hash of the model file.
        camera: the camera's source, without credentials.
        results: the results file.
        run_id: the run's row there.
        runtime: the TFLite runtime.
        kernels: the kernels that really ran, in words.
        backends: frames by what computed them, in runs with an accelerator; else empty.
        accelerator_losses: times the accelerator was lost.
        arithmetic: what they compute, and whether that is proved on this runtime, in words.
        outcome: how it ended, as its row in the results file says; "did not end" where that
            could not be noted: the row will say so when the file is opened the next time.
        frames: frames stored.
        cells: cells found.
        counts: cells by label, every label of the model.
        verdicts: cells by verdict.
        differential: shares of the classes among counted cells, with limits, and cells beside it.
        familiar: whether the cells are what the model was made for; None where that is not
            known: too few cells, or a file without a guard.
        statement: the same in words, with what differs; None of a file without a guard.
        warning: what stands beside accepted answers, such as that the file has no guard; None
            where nothing needs to.
        cut: cells cut by the frame's edge, which are counted all the same.
        census: cells that the counting frame counted: white cells, red cells and platelets;
            empty unless ``--find all``. No class: beside the differential, never inside it.
        red_per_white: red cells per white cell of these; None without either.
        platelets_per_1000_red: platelets per 1000 red cells of these; None without red cells.
        abstained: cells that were not fit to be judged, by reason.
        unfit_frames: frames that were not, by reason.
        dropped_frames: frames, or images of a folder, that came damaged and were left out.
        losses: frames that were lost on their way to the results, by where; see
            `qlvit_edge.microscope.losses`.
        restarts: times the model's process was started again.
        pictures_stopped: why no more pictures were saved; None where they were, or where none
            were asked for.
        damaged: name → finding, of a folder's images that were left out.
        reconnections: times a stream was lost and came back.
        seconds: wall time, from opening the camera, without pauses.
        frames_per_second: frames by that time.
        time_shares: share of the time by work; "capture" is waiting and decoding, "store"
            waiting for the disk. What goes on side by side counts on its own.
        lengths: the scale with its provenance, or that lengths are in pixels, in words.
        um_per_pixel: the scale; None where none is known.
        cell_diameter: median of the cells' mean side, of those that no edge cuts; None of none.
        cell_diameter_unit: ``"µm"``, or ``"px"`` where no scale is known.
        slide: the cells of the slide, each once; None where they are counted in each frame.
        paused_seconds: how long the run was paused.
        paused_frames: frames of a live camera that were left out meanwhile.
        overhead_share: share of the time outside capture, find and infer.
    """

    model: str
    model_sha256: str
    camera: str
    results: str
    run_id: int
    runtime: str
    kernels: str
    arithmetic: str
    backends: dict[str, int]
    accelerator_losses: int
    outcome: Outcome
    frames: int
    cells: int
    counts: dict[str, int]
    verdicts: dict[str, int]
    differential: Differential
    familiar: bool | None
    statement: str | None
    warning: str | None
    cut: int
    census: dict[str, int]
    red_per_white: float | None
    platelets_per_1000_red: float | None
    abstained: dict[str, int]
    unfit_frames: dict[str, int]
    dropped_frames: int
    losses: dict[str, int]
    restarts: int
    pictures_stopped: str | None
    damaged: dict[str, str]
    reconnections: int
    seconds: float
    frames_per_second: float
    time_shares: dict[str, float]
    lengths: str
    um_per_pixel: float | None
    cell_diameter: float | None
    cell_diameter_unit: str
    slide: Count | None
    paused_seconds: float
    paused_frames: int
    overhead_share: float


def census_figures(counts: Mapping[str, int]) -> dict[str, object] | None:
    """Return counts of white cells, red cells and platelets with their ratios, for JSON.

    None where none were counted.
    """
    if not counts:
        return None
    return {
        "counts": dict(counts),
        "red_per_white": red_per_white(counts),
        "platelets_per_1000_red": platelets_per_1000_red(counts),
    }


def summary_of(session: Session, results: Results) -> Summary:
    """Return what came out of a session so far."""
    outcome = results.outcome
    shares = session.times.shares()
    seconds = session.times.total()
    return Summary(
        model=session.classifier.metadata.name,
        model_sha256=session.classifier.sha256,
        camera=masked(session.settings.source),
        results=str(session.settings.out),
        run_id=results.run_id,
        runtime=session.settings.runtime,
        kernels=session.computing.kernels_used,
        arithmetic=session.computing.arithmetic,
        backends=dict(session.computing.frames),
        accelerator_losses=session.computing.losses,
        outcome="did not end" if outcome == "running" else outcome,
        frames=session.frames,
        cells=session.counts.total(),
        counts=dict(session.counts),
        verdicts=dict(session.verdicts),
        differential=session.differential(),
        familiar=None if session.finding is None else session.finding.familiar,
        statement=None if session.finding is None else session.finding.sentence,
        warning=UNGUARDED if session.finding is None else session.finding.warning,
        cut=session.cut,
        census=dict(session.census),
        red_per_white=red_per_white(session.census),
        platelets_per_1000_red=platelets_per_1000_red(session.census),
        abstained=dict(session.abstained),
        unfit_frames=dict(session.unfit_frames),
        dropped_frames=session.report.dropped,
        losses=session.losses(),
        restarts=session.restarts,
        pictures_stopped=session.pictures_stopped,
        damaged=dict(session.report.damaged),
        reconnections=session.report.reconnections,
        seconds=seconds,
        frames_per_second=session.frames / seconds if seconds else 0.0,
        time_shares=shares,
        lengths=session.lengths.words(),
        um_per_pixel=session.lengths.um_per_pixel,
        cell_diameter=session.lengths.median(),
        cell_diameter_unit=session.lengths.unit,
        slide=None if session.slide is None else session.slide.count(),
        paused_seconds=session.pause.seconds,
        paused_frames=session.pause.left_out,
        overhead_share=sum(v for name, v in shares.items() if name not in NEEDED_WORK),
    )
