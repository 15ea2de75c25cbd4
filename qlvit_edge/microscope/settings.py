"""What a run at the microscope is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.interpreter import Kernels, Runtime


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do.

    Attributes:
        model: a .tflite file or a bundled model's name.
        source: the camera, see `qlvit_edge.camera.sources`.
        out: the results file.
        frames: stop after so many; None for no limit.
        stop_at: stop after the frame in which so many cells are counted; None for no limit.
        analyser: an analyser's differential to compare with, see `analyser_of`; None for none.
        save: folder for annotated pictures; None for none.
        keep: folder for the frames in which cells are found, as they are; None for none.
        sample: what the slide is called; None: not said.
        operator: who runs it; None: not said.
        cell_size: diameter of a usual cell as a share of the frame's short side.
        find: what is looked for, see `qlvit_edge.fields.target`.
        accept_at: smallest probability of an accepted answer; None: the model's own.
        threads: threads of the interpreter.
        kernels: implementation of the operators.
        runtime: the TFLite runtime.
        delegate: library that runs a chain's segments on an Edge TPU; None for the CPU, which
            computes the same model while an Edge TPU is lost.
        allowance: what the model file may ask for; None: the default.
        calibration: file of the camera's calibration; None for none.
        count_once: whether cells are counted once per slide; None: of live cameras.
    """

    model: str
    source: str
    out: Path
    frames: int | None = None
    stop_at: int | None = None
    analyser: str | None = None
    save: Path | None = None
    keep: Path | None = None
    sample: str | None = None
    operator: str | None = None
    cell_size: float | None = None
    find: str = "cells"
    accept_at: float | None = None
    threads: int = 1
    kernels: Kernels = Kernels.AUTO
    runtime: Runtime = "litert"
    delegate: Delegate | None = None
    allowance: Allowance | None = None
    calibration: Path | None = None
    count_once: bool | None = None
