"""One training in several processes that `torchrun` started: how they share, and how they end.

Each process computes its part of every batch; gradients are averaged by PyTorch's
`DistributedDataParallel`, layers that look at a batch are those of
`qlvit_edge.training.synchronised`. The leader (rank 0) reads the run folder, writes and speaks.
"""

from __future__ import annotations

import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from qlvit_edge.errors import WorkerLostError
from qlvit_edge.launch import Launch, launch
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.presence import present
from qlvit_edge.training.peers import Peers
from qlvit_edge.training.synchronised import synchronise
from qlvit_edge.training.workers import ALONE, Workers

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)
"""That an exchange waits for a process which lives: one may decode images from a slow disk."""


def _parallel(network: nn.Module) -> nn.Module:
    """Average the gradients of a network; buffers are taken from the leader once, here.

    Afterwards they follow from what the layers exchange.
    """
    parallel: Any = nn.parallel.DistributedDataParallel
    renamed = "forward_sync_buffers" in inspect.signature(parallel).parameters
    option = "forward_sync_buffers" if renamed else "broadcast_buffers"
    averaging: nn.Module = parallel(network, **{option: False})
    return averaging


class _AskedToEndError(KeyboardInterrupt):
    """SIGTERM: of `torchrun`, since another process ended, or of someone who ends all of them."""


@contextmanager
def together(device: torch.device, remedy: Callable[[], str]) -> Iterator[Workers]:
    """Join the processes that were started together; a process of its own is `ALONE`.

    One process on each machine speaks of a fault, whichever meets it first; in the others the
    block ends in a `SystemExit`.

    Args:
        device: where this process trains.
        remedy: says what to do where another process is lost.

    Raises:
        WorkerLostError: another process ended, or does not answer.
    """
    launched = launch()
    if launched is None:
        yield ALONE
        return
    store, _, _ = next(rendezvous("env://"))
    peers = Peers(store, launched)
    signal.signal(signal.SIGTERM, _end)
    try:
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            **{"store": store, "rank": launched.rank, "world_size": launched.size},
            timeout=_PATIENCE,
        )
        peers.meet()
        yield ProcessGroup(launched, device)
        distributed.destroy_process_group()
    except (Exception, KeyboardInterrupt) as error:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        told = _explained(error, peers, remedy)
        if peers.speaks_first() or isinstance(told, KeyboardInterrupt):
            raise told from error
        raise SystemExit(getattr(told, "exit_code", 2)) from error


def _end(number: int, frame: FrameType | None) -> None:
    raise _AskedToEndError


def _explained(error: BaseException, peers: Peers, remedy: Callable[[], str]) -> BaseException:
    """Return an error as it is, or the loss of another process that it comes from."""
    is_exchange = isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )
    if not is_exchange and not isinstance(error, _AskedToEndError):
        return error
    if gone := peers.gone():
        return WorkerLostError(gone, "ended or was killed", remedy())
    if isinstance(error, _AskedToEndError):
        return KeyboardInterrupt()
    finding = "a process on another machine ended, or one does not answer"
    return WorkerLostError("torchrun", finding, remedy())


class ProcessGroup(Workers):
    """Several processes; all of them call the same methods in the same order.

    Attributes:
        device: where this process trains.
        is_idle: see `qlvit_edge.training.synchronised.Exchange`.
    """

    def __init__(self, launched: Launch, device: torch.device) -> None:
        """Stand for this process, whose default process group is initialised."""
        self.rank, self.size = launched.rank, launched.size
        self.device = device
        self.is_idle = False
        self._parallel: nn.Module | None = None
        self._nothing = torch.zeros(())

    def join(self, network: nn.Module) -> None:
        """Take over the leader's weights, and average gradients from now on."""
        synchronise(network, self)
        self._parallel = _parallel(network)

    def network(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """See `Workers`; without an image the network sees a grey one, which counts nowhere."""
        if not isinstance(network, QLViT):
            raise TypeError(f"{type(network).__name__} is not trained by several processes")
        parallel = present(self._parallel, "the network that was joined")
        shape = (network.config.channels, *network.config.input_size)

        def logits(images: Tensor) -> Tensor:
            self.is_idle = len(images) == 0
            if not self.is_idle:
                found: Tensor = parallel(images)
                return found
            shown: Tensor = parallel(images.new_full((1, *shape), 128))
            self._nothing = shown.sum() * 0
            return shown.detach()[:0]

        return logits

    def share_of(self, loss: Tensor, mass: float) -> Tensor:
        """See `Workers`; the processes' gradients are averaged, so each counts `size` times."""
        total = self._sum(0.0 if self.is_idle else mass)
        return self._nothing if self.is_idle else loss * (self.size * mass / total)

    def mean(self, value: float, mass: float) -> float:
        """See `Workers`."""
        if self.is_idle:
            value, mass = 0.0, 0.0
        return self._sum(value * mass) / self._sum(mass)

    def totals(self, *values: int) -> tuple[int, ...]:
        """See `Workers`."""
        return tuple(self.summed(torch.tensor(values, device=self.device)).tolist())

    def _sum(self, value: float) -> float:
        return float(self.summed(torch.tensor(value, dtype=torch.float64, device=self.device)))

    def from_leader(self, work: Callable[[], T]) -> T:
        """See `Workers`."""
        found: list[Any] = [work() if self.leads else None]
        distributed.broadcast_object_list(found, src=0, device=self.device)
        result: T = found[0]
        return result

    def gathered(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Workers`."""
        return self.summed(torch.from_numpy(rows).to(self.device)).cpu().numpy()

    def rows(self, row: Tensor) -> Tensor:
        """See `Exchange`."""
        found = [torch.empty_like(row) for _ in range(self.size)]
        distributed.all_gather(found, row)
        return torch.stack(found)

    def summed(self, values: Tensor) -> Tensor:
        """See `Exchange`."""
        total = values.clone()
        distributed.all_reduce(total)
        return total

    def largest(self, values: Tensor) -> Tensor:
        """See `Exchange`."""
        found = values.clone()
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return found
