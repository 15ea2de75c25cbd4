"""Trains the small network in several processes, as `torchrun` starts them, and by itself.

Run as a program, since its processes are forks. ``python ranks.py FOLDER`` compares single steps,
``python ranks.py FOLDER train …`` runs the command; both print a JSON object, name → finding.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_run import cell_image, small_config
from torch.distributed import TCPStore

from qlvit_edge.cli import main
from qlvit_edge.data.chance import Drawn
from qlvit_edge.model import configs
from qlvit_edge.model.dynamic_conv import set_temperature
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training import loop, session
from qlvit_edge.training.acceleration import PLAIN
from qlvit_edge.training.distributed import together
from qlvit_edge.training.state import TrainingState
from qlvit_edge.training.targets import Mixture, Objective, drawn_mixture, mixed
from qlvit_edge.training.workers import ALONE, Workers

WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 0.7], dtype=torch.float64)
STEPS = {
    "a part each": (2, 8, None, Objective()),
    "uneven parts": (3, 7, None, Objective()),
    "weighted classes": (2, 9, None, Objective(WEIGHTS)),
    "mixed and smoothed": (2, 7, 0.4, Objective(WEIGHTS, 0.1)),
    "nothing for one": (3, 4, None, Objective(WEIGHTS)),
}
"""What is compared of one step: processes, images, α of mixup, the loss."""

LAST_STEP = 8
"""Of two epochs of four steps."""


def _enter(rank: int, size: int, port: int) -> None:
    """Set what `torchrun` sets."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    os.environ.update(zip(names, map(str, (rank, size, rank, size, port)), strict=True))
    # The store is the parent's, as it is that of torchrun's agent: it outlives the processes.
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True")


def started(size: int, work: Callable[[], Any], folder: Path) -> list[tuple[int, str, str]]:
    """Let forks do something together; returns exit code, stdout and stderr of each.

    Like `torchrun`, it asks the others to end when one has failed.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children: dict[int, int] = {}
    for rank in range(size):
        child = os.fork()
        if child == 0:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / f"{rank}.{name}", os.O_CREAT | os.O_RDWR), number)
            _enter(rank, size, store.port)
            os._exit(_code_of(work))
        children[child] = rank
    codes: dict[int, int] = {}
    while len(codes) < size:
        child, status = os.wait()
        codes[children[child]] = os.waitstatus_to_exitcode(status)
        if codes[children[child]] != 0:
            for other, rank in children.items():
                if rank not in codes:
                    os.kill(other, signal.SIGTERM)
    del store
    said = [
        [(folder / f"{rank}.{name}").read_text() for name in ("out", "err")] for rank in range(size)
    ]
    return [(codes[rank], *said[rank]) for rank in range(size)]


def _code_of(work: Callable[[], Any]) -> int:
    code = 0
    try:
        work()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _step(workers: Workers, images: int, alpha: float | None, objective: Objective) -> Any:
    """Take one step in float64; returns its loss, right answers, gradients and buffers."""
    torch.manual_seed(0)
    network = QLViT(small_config()).double()
    set_temperature(network, 1.0)
    # Of class 2, whose weight is nothing, there is no image.
    labels = torch.tensor([0, 1, 3])[torch.arange(images) % 3]
    pixels = np.stack([cell_image(int(label), at)[:64, :64] for at, label in enumerate(labels)])
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).double()
    drawn = Drawn(0, 0, np.arange(images), np.arange(images)).part(*workers.share)
    mixture: Mixture | None = None
    own = torch.from_numpy(drawn.images)
    batch, labels = batch[own], labels[own]
    if alpha is not None and len(own):
        mixture = drawn_mixture(drawn, alpha)
        batch = mixed(batch, mixture)
    workers.join(network)
    state = TrainingState(network, network, torch.optim.AdamW(network.parameters()))
    network.train()
    figures = loop._step(state, 1e-3, batch, labels, objective, mixture, 2.0, PLAIN, workers)
    tensors = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    tensors |= dict(network.named_buffers())
    return figures, {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def step_differences(folder: Path) -> dict[str, dict[str, float]]:
    """Largest difference between one process and several, of each kind of number in a step."""
    found = {}
    for name, (size, *what) in STEPS.items():
        place = folder / name
        place.mkdir()

        def work(what: list[Any] = what, place: Path = place) -> None:
            with together(torch.device("cpu"), lambda: "") as workers:
                took = _step(workers, *what)
                (place / f"{workers.rank}.pickle").write_bytes(pickle.dumps(took))

        ended = started(size, work, place)
        assert [code for code, _, _ in ended] == [0] * size, ended
        figures, tensors = _step(ALONE, *what)
        worst = {"loss": 0.0, "right": 0.0, "tensors": 0.0}
        for rank in range(size):
            others, their = pickle.loads((place / f"{rank}.pickle").read_bytes())
            worst["loss"] = max(worst["loss"], abs(others[0] - figures[0]))
            worst["right"] = max(worst["right"], abs(others[1] - figures[1]))
            for key, tensor in tensors.items():
                gap = float(np.abs(their[key] - tensor).max())
                worst["tensors"] = max(worst["tensors"], gap)
        found[name] = worst
    return found


def _at_step(count: int, rank: int, number: int) -> None:
    """Let a signal hit the process of a rank in the middle of its given step."""
    real = torch.nn.utils.clip_grad_norm_
    calls = 0

    def clipped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and os.environ.get("RANK") == str(rank):
            os.kill(os.getpid(), number)
        return real(*arguments, **options)

    torch.nn.utils.clip_grad_norm_ = clipped


def commands(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run `train` in two processes (or three, or one), whole, killed, and resumed."""
    configs.SIZES["nano"] = small_config()

    def run(name: str, size: int, *more: str, arm: Callable[[], None] = lambda: None) -> Any:
        place = folder / f"{name} of {size}"
        place.mkdir()

        def work() -> None:
            arm()
            main([*arguments, *more])

        return started(size, work, place)

    def out(name: str) -> tuple[str, str]:
        return "--out", str(folder / name)

    killed = ("--epochs", "2", *out("killed"))
    led = ("--epochs", "2", *out("led"))
    return {
        "whole": run("whole", 2, "--epochs", "2", "--tensorboard", *out("two")),
        "alone": run("alone", 1, "--epochs", "2", *out("one")),
        "killed": run("killed", 2, *killed, arm=lambda: _at_step(LAST_STEP, 1, signal.SIGKILL)),
        "resumed": run("resumed", 3, *killed, "--resume"),
        "leader killed": run("led", 2, *led, arm=lambda: _at_step(LAST_STEP, 0, signal.SIGKILL)),
        "interrupted": run("int", 2, *led, "--resume", arm=lambda: _interrupted()),
        "refused": run("refused", 2, "--epochs", "2", *out("two")),
        "too many": run("many", 2, "--batch", "3", *out("none")),
        "bad data": run("bad", 2, "--data", str(folder / "nowhere"), *out("none")),
    }


def _interrupted() -> None:
    # Also where whoever started the tests ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for rank in (0, 1):
        _at_step(2, rank, signal.SIGINT)


def compute_in_double() -> None:
    """Let everything be float64: what rounding leaves is then far below what is compared.

    In float32, AdamW makes steps of full size of the rounding errors where a gradient is zero (a
    bias before a BatchNorm), and two runs soon differ, however they are shared out.
    """
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


def draw_nothing() -> None:
    """Leave out the pictures and the report: they take longer than the training."""
    for module, names in (
        (session.plots, ("plot_curves", "plot_confusion")),
        (session, ("make_report", "write_report")),
    ):
        for name in names:
            setattr(module, name, lambda *_, **__: None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    compute_in_double()
    draw_nothing()
    place = Path(sys.argv[1])
    if len(sys.argv) == 2:
        print(json.dumps(step_differences(place)))
    else:
        print(json.dumps(commands(place, sys.argv[2:])))
