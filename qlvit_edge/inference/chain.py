"""Runs a chain: segment after segment, each output handed on as it is.

On the CPU every segment runs on the same kernels, so a chain gives what the uncut model
gives, byte for byte, on the reference kernels; a delegate that fuses across what are now
borders may round elsewhere. With a delegate library (`libedgetpu.so.1`) the compiled
segments run on the Edge TPU: written from its documentation, never tried on hardware.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DeviceError
from qlvit_edge.inference.arithmetic import Arithmetic, running_arithmetic
from qlvit_edge.inference.interpreter import (
    Interpreter,
    Kernels,
    Runtime,
    load_native,
    plan,
    run_native,
)
from qlvit_edge.inference.tensor_info import TensorInfo
from qlvit_edge.modelfile.chain import is_chain, read_chain
from qlvit_edge.modelfile.chain_description import Border


class ChainInterpreter:
    """A loaded chain with one input and one output, ready to run.

    Attributes:
        input: the input tensor.
        output: the output tensor.
        kernels: the kernels that were asked for.
        partitions: parts that XNNPACK took over, in all segments together.
        kernels_used: what really runs, in words.
        xnnpack_missing: XNNPACK was to be expected but took no operator.
    """

    def __init__(
        self,
        content: bytes,
        *,
        kernels: Kernels = Kernels.AUTO,
        runtime: Runtime = "litert",
        threads: int = 1,
        delegate: str | None = None,
        subject: object = "chain",
    ) -> None:
        """Load a chain.

        Args:
            content: the archive's bytes.
            kernels: which implementation of the operators to use on the CPU.
            runtime: which TFLite runtime to use.
            threads: number of threads, at least 1.
            delegate: name or path of the Edge TPU's library; None runs all on the CPU.
            subject: what errors call the chain.

        Raises:
            ModelFileError: the chain is damaged, or the runtime refuses a segment.
            DeviceError: the runtime or the delegate does not start, or the chain holds no
                compiled segments for it.
        """
        chain = self._chain = read_chain(content, subject=subject)
        self._runtime: Runtime = runtime
        self.kernels = Kernels(kernels)
        self.input = _info(chain.border(chain.description.input))
        self.output = _info(chain.border(chain.description.output))
        self._segments: list[_LoadedSegment] = []
        self.partitions = rest = 0
        self._on_tpu = 0
        for segment in chain.description.segments:
            library = delegate if segment.device == "tpu" else None
            if library is not None and segment.compiled is None:
                raise DeviceError(
                    subject,
                    f"{segment.file} is not compiled for the Edge TPU",
                    "convert it where `edgetpu_compiler` is installed, or leave out the delegate",
                )
            name = segment.file if library is None else str(segment.compiled)
            native = load_native(
                chain.files[name],
                f"{subject}: {name}",
                self.kernels,
                runtime,
                threads,
                delegate=library,
            )
            self._segments.append(_LoadedSegment(native))
            self._on_tpu += library is not None
            if library is None:
                delegated, left = plan(native)
                self.partitions, rest = self.partitions + len(delegated), rest + left
        self.xnnpack_missing = (
            self.kernels is Kernels.AUTO and runtime == "litert" and not self.partitions
        )
        kind = "XNNPACK" if self.partitions else self.kernels.value
        places = f"{self._on_tpu} on the Edge TPU" if self._on_tpu else "all on the CPU"
        self.kernels_used = (
            f"{len(self._segments)} segments, {places}: {kind} "
            f"({self.partitions} partitions, {rest} builtin operators)"
        )
        self._kept: dict[str, NDArray[Any]] = {}

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """Which arithmetic the kernels that run compute, and whether that is proved."""
        return running_arithmetic(
            self._runtime,
            reference=self.kernels is Kernels.REFERENCE,
            partitions=self.partitions,
            file_format=self._chain.description.model.format_version,
            operators={op.name for document in self._chain.documents for op in document.operators},
            delegate=self._on_tpu > 0,
        )

    def invoke(self, values: NDArray[Any]) -> NDArray[Any]:
        """Run the chain once.

        Args:
            values: the input, of the shape and dtype of ``input`` (a missing batch axis is
                added).

        Returns:
            The raw output, of the shape and dtype of ``output``; a copy.

        Raises:
            ValueError: ``values`` has another shape or type.
            DeviceError: the runtime failed.
        """
        if values.shape == self.input.shape[1:]:
            values = values[np.newaxis]
        if values.shape != self.input.shape or values.dtype != self.input.dtype:
            raise ValueError(
                f"the model takes {self.input.dtype} {self.input.shape}, "
                f"not {values.dtype} {values.shape}"
            )
        kept = {self.input.name: np.ascontiguousarray(values)}
        for segment in self._segments:
            kept.update(segment.run(kept))
        self._kept = kept
        return kept[self.output.name]

    def borders(self) -> dict[str, NDArray[Any]]:
        """Return every tensor that crossed a border in the last `invoke`, by name."""
        return dict(self._kept)


class _LoadedSegment:
    """One segment in the runtime."""

    def __init__(self, native: Any) -> None:
        self.native = native
        # The reader has compared the names with the description.
        self.inputs = _numbers_by_name(native.get_input_details())
        self.outputs = _numbers_by_name(native.get_output_details())

    def run(self, known: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for name, index in self.inputs:
            self.native.set_tensor(index, known[name])
        run_native(self.native)
        return {name: np.asarray(self.native.get_tensor(index)) for name, index in self.outputs}


def open_model(
    content: bytes,
    *,
    kernels: Kernels = Kernels.AUTO,
    runtime: Runtime = "litert",
    threads: int = 1,
    delegate: str | None = None,
    subject: object = "model",
) -> Interpreter | ChainInterpreter:
    """Load a `.tflite` file or a chain, whichever the bytes are.

    Raises:
        ModelFileError: the file is damaged or the runtime refuses it.
        DeviceError: the runtime or the delegate does not start, or a delegate was given for
            a file that is no chain.
    """
    if is_chain(content):
        return ChainInterpreter(
            content,
            kernels=kernels,
            runtime=runtime,
            threads=threads,
            delegate=delegate,
            subject=subject,
        )
    if delegate is not None:
        raise DeviceError(
            subject, "is not a chain, the Edge TPU would run little of it", "give a chain"
        )
    return Interpreter(content, kernels=kernels, runtime=runtime, threads=threads)


def _numbers_by_name(details: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(str(entry["name"]), int(entry["index"])) for entry in details]


def _info(border: Border) -> TensorInfo:
    return TensorInfo(
        name=border.name,
        shape=tuple(border.shape),
        dtype=np.dtype(border.dtype.lower()),
        scale=border.scale,
        zero_point=border.zero_point,
    )
