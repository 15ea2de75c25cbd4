"""Every file that the routes make of one network, for the side-by-side table.

A route that cannot do something gives a contender with the error instead of a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.converters.idioms.scales import CalibratedScales
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.routes.closeness import FLOAT16, FLOAT32, NATIVE, QUANTISED, Bound
from qlvit_edge.converters.routes.environment import find_python
from qlvit_edge.converters.routes.onnx import export_onnx
from qlvit_edge.converters.routes.onnx2tf import BOUNDS, calibration_views, make_files
from qlvit_edge.converters.routes.ort import dynamic_int8
from qlvit_edge.converters.routes.runners import Kind
from qlvit_edge.converters.routes.verdict import RouteFile
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.progress import Progress
from qlvit_edge.training.checkpoint import Checkpoint

ROUTES = ("native", "onnx", "onnx2tf")


@dataclass(frozen=True)
class Contender:
    """One way to run the network.

    Attributes:
        name: for people.
        route: which route made it; `pytorch` for the network itself.
        kind: of runtime that runs it.
        made: the file, or why there is none; None for PyTorch, which has no file.
        bound: what it keeps if it is the network.
    """

    name: str
    route: str
    kind: Kind
    made: RouteFile | None
    bound: Bound


def contenders(
    checkpoint: Checkpoint,
    calibration: Callable[[], CalibratedScales],
    routes: Sequence[str],
    python: Path | None,
    data: Path | None,
    log: Path,
    progress: Progress,
) -> list[Contender]:
    """Make the files of the routes; PyTorch itself comes first.

    Args:
        checkpoint: the trained network.
        calibration: loads its calibration; if that fails, so do those who need it.
        routes: names out of `ROUTES`.
        python: of the environment with onnx2tf; default: see `find_python`.
        data: where the calibration images are; default: where the run's data was.
        log: where onnx2tf's log is kept if it fails.
        progress: makes a progress bar from a description and a total.
    """
    found = [Contender("PyTorch eager, float32", "pytorch", "torch", None, FLOAT32)]
    with progress("converting", len(routes)) as advance:
        for route in routes:
            if route == "native":
                found += _native(checkpoint, calibration)
            elif route == "onnx":
                found += _onnx(checkpoint)
            else:
                found += _onnx2tf(checkpoint, calibration, python, data, log)
            advance()
    return found


def _native(checkpoint: Checkpoint, calibration: Callable[[], CalibratedScales]) -> list[Contender]:
    def integers(softmax: Form) -> bytes:
        graph = integer_graph(checkpoint, calibration(), softmax)
        return write_tflite(one_arithmetic(graph).graph)  # as `convert` writes it

    def float32() -> bytes:
        return write_tflite(float_graph(checkpoint.network, "float32"))

    fast, exact = _make(lambda: integers("fast")), _make(lambda: integers("exact"))
    # The float file does not round activations (Qact) as PyTorch's evaluation does.
    return [
        Contender("native int8, fast", "native", "tflite", fast, NATIVE),
        Contender("native int8, exact", "native", "tflite", exact, NATIVE),
        Contender("native float32", "native", "tflite", _make(float32), FLOAT16),
    ]


def _onnx(checkpoint: Checkpoint) -> list[Contender]:
    exported = _make(lambda: export_onnx(checkpoint))
    rows = [Contender("ONNX Runtime, float32", "onnx", "onnx", exported, FLOAT32)]
    if exported.content is not None:
        content = exported.content
        quantised = _make(lambda: dynamic_int8(content))
        made = RouteFile(quantised.content, exported.seconds + quantised.seconds, quantised.error)
        rows.append(Contender("ONNX Runtime, dynamic int8", "onnx", "onnx", made, QUANTISED))
    return rows


def _onnx2tf(
    checkpoint: Checkpoint,
    calibration: Callable[[], CalibratedScales],
    python: Path | None,
    data: Path | None,
    log: Path,
) -> list[Contender]:
    try:
        views, _ = calibration_views(checkpoint, calibration, data)
        files = make_files(checkpoint, find_python(python), views, log)
    except QLViTEdgeError as error:
        files = {name: RouteFile(None, 0.0, str(error)) for name in BOUNDS}
    return [
        Contender(f"onnx2tf {name}", "onnx2tf", "tflite", made, BOUNDS[name])
        for name, made in files.items()
    ]


def _make(function: Callable[[], bytes]) -> RouteFile:
    began = time.monotonic()
    try:
        content = function()
    except QLViTEdgeError as error:
        return RouteFile(None, time.monotonic() - began, str(error))
    return RouteFile(content, time.monotonic() - began, None)
