"""What a run comes to: the figures that are shown, or printed as JSON, at its end."""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.differential.differential import Differential
from qlvit_edge.microscope.records import Outcome
from qlvit_edge.slide.placement import Count


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
        census: cells that the counting frame counted: white cells and red cells; empty unless
            ``--find all``. No class: beside the differential, never inside it.
        red_per_white: red cells per white cell of these; None without either.
        abstained: cells that were not fit to be judged, by reason.
        unfit_frames: frames that were not, by reason.
        dropped_frames: frames, or images of a folder, that came damaged and were left out.
        damaged: name → finding, of a folder's images that were left out.
        reconnections: times a stream was lost and came back.
        seconds: wall time, from opening the camera.
        frames_per_second: frames by that time.
        time_shares: share of the time by work; "capture" is waiting and decoding, "store"
            waiting for the disk.
        lengths: the scale with its provenance, or that lengths are in pixels, in words.
        um_per_pixel: the scale; None where none is known.
        cell_diameter: median of the cells' mean side, of those that no edge cuts; None of none.
        cell_diameter_unit: ``"µm"``, or ``"px"`` where no scale is known.
        slide: the cells of the slide, each once; None where they are counted in each frame.
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
    abstained: dict[str, int]
    unfit_frames: dict[str, int]
    dropped_frames: int
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
    overhead_share: float
