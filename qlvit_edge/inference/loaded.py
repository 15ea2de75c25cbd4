"""What a loaded file and a loaded chain have in common: running it, wherever it runs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.closing import Closing
from qlvit_edge.inference.isolation import RemoteNetwork
from qlvit_edge.inference.native import Kernels, Runtime
from qlvit_edge.inference.network import LocalNetwork, Settings
from qlvit_edge.inference.tensor_info import TensorInfo
from qlvit_edge.memory import peak_memory
from qlvit_edge.modelfile.document import Tensor

MOST_TENSOR_BYTES = 256 * 1024 * 1024
"""Of a model's input or output."""


class LoadedModel(Closing):
    """A loaded model with one input and one output; safe to use from several threads.

    A context manager that ends the model's process, where it has one.

    Attributes:
        input: the input tensor.
        output: the output tensor.
        kernels: the kernels that were asked for.
        isolated: whether it runs in a process of its own.
    """

    input: TensorInfo
    output: TensorInfo

    def __init__(
        self, settings: Settings, subject: object, *, isolated: bool, allowance: Allowance
    ) -> None:
        """Load what settings say, here or in a process of its own.

        Raises:
            ModelFileError: the runtime refuses the model; isolated: it crashes or takes too much.
            DeviceError: the runtime or a delegate is missing or does not start.
        """
        self.kernels: Kernels = settings.kernels
        self.isolated = isolated
        self._runtime: Runtime = settings.runtime
        self._subject = subject
        self._lock = threading.RLock()
        self._network: LocalNetwork | RemoteNetwork = (
            RemoteNetwork(settings, subject, allowance) if isolated else LocalNetwork(settings)
        )

    @property
    def remote(self) -> RemoteNetwork:
        """The model's process.

        Raises:
            ValueError: it has none.
        """
        if isinstance(self._network, RemoteNetwork):
            return self._network
        raise ValueError("the model runs in this process: open it isolated")

    def invoke(self, values: NDArray[Any]) -> NDArray[Any]:
        """Run the model once.

        Args:
            values: the input, of the shape and dtype of ``input`` (a missing batch axis is
                added).

        Returns:
            The raw output, of the shape and dtype of ``output``; a copy.

        Raises:
            ValueError: ``values`` has another shape or type.
            ModelFileError: the output is not what the file says.
            DeviceError: the runtime failed.
            InferenceLostError: isolated, the process crashed, took too much or did not answer in
                time; `restart` starts another.
        """
        if values.shape == self.input.shape[1:]:
            values = values[np.newaxis]
        if values.shape != self.input.shape or values.dtype != self.input.dtype:
            raise ValueError(
                f"the model takes {self.input.dtype} {self.input.shape}, "
                f"not {values.dtype} {values.shape}"
            )
        with self._lock:
            output = self._network.run(np.ascontiguousarray(values))
        if output.shape != self.output.shape or output.dtype != self.output.dtype:
            raise ModelFileError(
                self._subject,
                f"its output is {output.dtype} {output.shape}, not {self.output.dtype} "
                f"{self.output.shape} as it says",
                "convert the model again",
            )
        return output

    def restart(self) -> None:
        """End the model's process and start another; nothing where it runs in this one.

        Raises:
            ModelFileError: the runtime crashes on the model, or takes too much.
            DeviceError: the runtime does not start.
        """
        if isinstance(self._network, RemoteNetwork):
            with self._lock:
                self._network.restart()

    def close(self) -> None:
        """End the model's process; allowed any number of times. Without one, nothing happens."""
        if isinstance(self._network, RemoteNetwork):
            self._network.close()

    def peak_bytes(self) -> int | None:
        """Return the most memory of the process that runs the model; None if it is hidden.

        Raises:
            InferenceLostError: isolated, the process is gone.
        """
        if isinstance(self._network, RemoteNetwork):
            with self._lock:
                return self._network.peak_bytes()
        return peak_memory()

    def _only(self, tensors: tuple[TensorInfo, ...], what: str) -> TensorInfo:
        require_one(len(tensors), what, self._subject)
        return tensors[0]


def require_one(count: int, what: str, subject: object) -> None:
    """Refuse a model that has not one input or one output.

    Raises:
        ModelFileError: saying how many.
    """
    if count != 1:
        raise ModelFileError(subject, f"it has {count} {what}s", f"give a model with one {what}")


def require_moderate(tensors: tuple[Tensor, ...], what: str, subject: object) -> None:
    """Refuse inputs or outputs that are too large to hand over.

    Raises:
        ModelFileError: naming the size.
    """
    for tensor in tensors:
        if tensor.nbytes > MOST_TENSOR_BYTES:
            raise ModelFileError(
                subject,
                f"its {what} has {tensor.nbytes} bytes",
                f"give a model of at most {MOST_TENSOR_BYTES >> 20} MiB there",
            )
