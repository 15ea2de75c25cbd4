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

MOST_OUTPUTS = 2
"""Logits, and the features that they are made of."""


class LoadedModel(Closing):
    """A loaded model with one input and one or two outputs; safe to use from several threads.

    A context manager that ends the model's process, where it has one.

    Attributes:
        input: the input tensor.
        outputs: the output tensors: the answer, and the features it is made of where the file
            gives them.
        kernels: the kernels that were asked for.
        isolated: whether it runs in a process of its own.
    """

    input: TensorInfo
    outputs: tuple[TensorInfo, ...]

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
    def output(self) -> TensorInfo:
        """The first output: logits, or what else the model answers."""
        return self.outputs[0]

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
        """Run the model once and return the first output; see `invoke_all`."""
        return self.invoke_all(values)[0]

    def invoke_all(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run the model once.

        Args:
            values: the input, of the shape and dtype of ``input`` (a missing batch axis is
                added).

        Returns:
            The raw outputs, of the shapes and dtypes of ``outputs``; copies.

        Raises:
            ValueError: ``values`` has another shape or type.
            ModelFileError: an output is not what the file says.
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
            given = self._network.run(np.ascontiguousarray(values))
        for array, output in zip(given, self.outputs, strict=True):
            if array.shape != output.shape or array.dtype != output.dtype:
                raise ModelFileError(
                    self._subject,
                    f"its output is {array.dtype} {array.shape}, not {output.dtype} "
                    f"{output.shape} as it says",
                    "convert the model again",
                )
        return given

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

    def _require_ends(
        self, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> tuple[TensorInfo, tuple[TensorInfo, ...]]:
        require_ends(len(inputs), len(outputs), self._subject)
        return inputs[0], outputs


def require_ends(inputs: int, outputs: int, subject: object) -> None:
    """Refuse a model that has not one input, and one output or two.

    Raises:
        ModelFileError: saying how many.
    """
    if inputs != 1:
        raise ModelFileError(subject, f"it has {inputs} inputs", "give a model with one input")
    if not 1 <= outputs <= MOST_OUTPUTS:
        raise ModelFileError(
            subject, f"it has {outputs} outputs", "give a model with one output, or with features"
        )


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
