"""From a trained network to files for a device: by our converter, or by the stock route."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from contest.members import Member
from contest.scores import judge
from contest.tasks import Task
from qlvit_edge.calibration.collect import calibrate
from qlvit_edge.converters.lower.checkpoint import float_graph, integer_graph
from qlvit_edge.converters.routes.onnx import export_onnx, trace
from qlvit_edge.converters.routes.onnx2tf import files_of_onnx
from qlvit_edge.converters.routes.runners import file_logits
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError, QLViTEdgeError
from qlvit_edge.files import write_bytes
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.child import run_limited
from qlvit_edge.inference.interpreter import Kernels
from qlvit_edge.inference.worker import Case, Worker
from qlvit_edge.measuring.benchmark import take_turns
from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import Checkpoint, RunConfig
from qlvit_edge.training.settings import TrainingSettings

FLOAT, INTEGER = "float32", "full-integer"
COUNT = Path(__file__).parents[1] / "cortex" / "count.py"
OUR_ROUTE, STOCK_ROUTE = "ours", "stock"
_SECONDS = 1200.0
_ALLOWANCE = Allowance(operators=ALLOWED_OPERATORS)


@dataclass(frozen=True)
class Made:
    """The files of one network.

    Attributes:
        route: which converter made them.
        paths: by form; one that could not be made is missing.
        reasons: why, by form; and why our converter did not make them.
    """

    route: str
    paths: dict[str, Path]
    reasons: dict[str, str]


def costs(member: Member, side: int) -> dict[str, int]:
    """Count a network's parameters, and the products of one inference, the same way for all.

    Products are those of convolutions, linear layers and matrix products, attention's included;
    what goes through single elements (norms, activations, the mixing of maps) is not counted.
    """
    network = member.make().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, side, side))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}


def make(member: Member, network: nn.Module, task: Task, python: Path | None, folder: Path) -> Made:
    """Write the float32 and the full-integer file of a trained network.

    Args:
        member: it took part as.
        network: in evaluation mode.
        task: that it was trained on; gives the images for ranges.
        python: with onnx2tf and TensorFlow; None: stock files are not made.
        folder: for the files, and for logs of what failed.
    """
    reasons: dict[str, str] = {}
    if member.config is not None:
        checkpoint = _checkpoint(member, network, task)
        try:
            return Made(OUR_ROUTE, _lowered(member, checkpoint, task, folder), {})
        except QLViTEdgeError as error:
            reasons[OUR_ROUTE] = str(error)
    if python is None:
        return Made(STOCK_ROUTE, {}, {**reasons, STOCK_ROUTE: "not made: --python was not given"})
    views = np.stack([load(image.path, (task.side, task.side)) for image in task.calibration])
    try:
        content = (
            trace(network, torch.zeros(1, 3, task.side, task.side))
            if member.config is None
            else export_onnx(checkpoint, unpadded_pooling=True, with_metadata=False)
        )
        log = folder / f"{member.key}.log"
        made = files_of_onnx(content, python, views, log, (FLOAT, INTEGER))
    except ConversionError as error:
        return Made(STOCK_ROUTE, {}, {**reasons, STOCK_ROUTE: str(error)})
    paths = {}
    for form, file in made.items():
        if file.content is None:
            reasons[form] = file.error or "not made"
        else:
            paths[form] = _write(folder, member, form, file.content)
    return Made(STOCK_ROUTE, paths, reasons)


def _lowered(member: Member, checkpoint: Checkpoint, task: Task, folder: Path) -> dict[str, Path]:
    calibration = calibrate(checkpoint, task.calibration, "minmax", lambda: None)
    return {
        FLOAT: _write(folder, member, FLOAT, write_tflite(float_graph(checkpoint.network, "twin"))),
        INTEGER: _write(
            *(folder, member, INTEGER),
            write_tflite(integer_graph(checkpoint, calibration, "fast")),
        ),
    }


def _write(folder: Path, member: Member, form: str, content: bytes) -> Path:
    path = folder / f"{member.key}-{form}.tflite"
    write_bytes(path, content)
    return path


def _checkpoint(member: Member, network: Any, task: Task) -> Checkpoint:
    if member.config is None:
        raise ValueError(f"{member.name} is no network of ours")
    settings = TrainingSettings(
        epochs=1, batch=1, peak_rate=member.rate, weight_decay=0, validation=0, seed=0
    )
    run = RunConfig(
        network=member.config,
        classes=list(task.classes),
        data=task.name,
        split_fingerprint=task.fingerprint,
        training=settings,
    )
    return Checkpoint(Path(member.key), run, network, "")


def asked(path: Path, task: Task) -> tuple[dict[str, dict[str, Any]], str]:
    """Return how a file answers the questions of a task, and why XNNPACK did not run it, if so.

    A file that the default kernels refuse is asked on the runtime's own, without XNNPACK.

    Raises:
        ModelFileError: it does not run on those either.
    """
    views = np.concatenate([one.views for one in task.questions.values()])
    refused = ""
    try:
        logits = _logits(path, Kernels.AUTO, views)
    except QLViTEdgeError as error:
        logits, refused = _logits(path, Kernels.BUILTIN, views), str(error)
    answers = np.asarray(logits.argmax(-1).reshape(len(views)), np.int64)
    found, start = {}, 0
    for kind, questions in task.questions.items():
        end = start + len(questions.views)
        found[kind] = judge(answers[start:end], questions)
        start = end
    return found, refused


def _logits(path: Path, kernels: Kernels, views: NDArray[np.uint8]) -> NDArray[Any]:
    """Run a file in a process of its own: kernels may abort on what another converter wrote."""
    logits, _, _ = run_limited(path, None, _SECONDS, file_logits, path.read_bytes(), kernels, views)
    return logits


def instructions(path: Path, cache: Path, folder: Path) -> dict[str, int]:
    """Count what one inference of a file executes, by processor, with `cortex/count.py`.

    Args:
        path: the file.
        cache: of the emulator.
        folder: for what it says.

    Raises:
        ConversionError: it could not be counted; with the last line that was said.
    """
    out = folder / f"{path.stem}-instructions.json"
    command = [sys.executable, str(COUNT), str(path), "--cache", str(cache), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise ConversionError(path.name, f"could not be counted ({said})", "see cortex/count.py")
    found = json.loads(out.read_text(encoding="utf-8"))[str(path)]
    return {cpu: int(counts["instructions"]) for cpu, counts in found.items()}


def times(paths: Mapping[str, Path], rounds: int) -> dict[str, tuple[float, float]]:
    """Let files take turns on one thread.

    Args:
        paths: by name; the first is what the others are compared with.
        rounds: that count.

    Returns:
        By name the median in milliseconds, and the median ratio to the first.
    """
    with ExitStack() as running:
        workers = [
            running.enter_context(Worker(Case(name, path), _ALLOWANCE))
            for name, path in paths.items()
        ]
        found, ratios = take_turns(workers, rounds, warmup=2)
    return {
        name: (float(np.median(own)), float(np.median(ratio)))
        for name, own, ratio in zip(paths, found, ratios, strict=True)
    }
