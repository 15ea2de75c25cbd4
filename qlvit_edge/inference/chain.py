"""Runs a chain: segment after segment, each output handed on as it is.

On the CPU every segment runs on the same kernels, so a chain gives what the uncut model
gives, byte for byte, on the reference kernels; a delegate that fuses across what are now
borders may round elsewhere. With a delegate library (`libedgetpu.so.1`) the compiled
segments run on the Edge TPU: written from its documentation, never tried on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DeviceError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.arithmetic import Arithmetic, running_arithmetic
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.inference.loaded import LoadedModel, require_moderate
from qlvit_edge.inference.native import Kernels, Runtime
from qlvit_edge.inference.network import Part, Settings
from qlvit_edge.inference.tensor_info import TensorInfo
from qlvit_edge.modelfile.chain import Chain, is_chain, read_chain
from qlvit_edge.modelfile.chain_description import Border
from qlvit_edge.modelfile.reader import read_bytes


class ChainInterpreter(LoadedModel):
    """A loaded chain with one input and one or two outputs, ready to run.

    Attributes:
        input: the input tensor.
        outputs: the output tensors: logits, and the features they are made of where the chain
            gives them.
        kernels: the kernels that were asked for.
        isolated: whether it runs in a process of its own.
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
        delegate: Delegate | None = None,
        subject: object = "chain",
        isolated: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        """Load a chain.

        Args:
            content: the archive's bytes.
            kernels: which implementation of the operators to use on the CPU.
            runtime: which TFLite runtime to use.
            threads: number of threads, at least 1.
            delegate: the Edge TPU's library; None runs all on the CPU.
            subject: what errors call the chain.
            isolated: run it in a process of its own, once on zeros before it counts as loaded.
            allowance: what the segments may ask for; the default one where None.

        Raises:
            ModelFileError: the chain is damaged, asks for more than it may, or the runtime
                refuses a segment; isolated: the runtime crashes on one.
            AcceleratorError: the delegate refuses its device or a segment.
            DeviceError: the runtime or the delegate's library is missing, or the chain holds no
                compiled segments for it.
        """
        chain = self._chain = read_chain(content, subject=subject)
        allowance = allowance or Allowance()
        for document in chain.documents:
            allowance.require(document, subject)
            require_moderate((*document.inputs, *document.outputs), "border", subject)
        ends = (chain.description.input, chain.description.outputs)
        parts = tuple(_parts(chain, delegate, subject))
        settings = Settings(parts, Kernels(kernels), runtime, threads, ends)
        super().__init__(settings, subject, isolated=isolated, allowance=allowance)
        self.input = _info(chain.border(ends[0]))
        self.outputs = tuple(_info(chain.border(name)) for name in ends[1])
        facts = self._network.facts
        on_cpu = [one for one, part in zip(facts, parts, strict=True) if part.delegate is None]
        self._on_tpu = len(parts) - len(on_cpu)
        self.partitions = sum(len(one.delegated) for one in on_cpu)
        rest = sum(one.operators_left for one in on_cpu)
        self.xnnpack_missing = (
            self.kernels is Kernels.AUTO and runtime == "litert" and not self.partitions
        )
        kind = "XNNPACK" if self.partitions else self.kernels.value
        places = f"{self._on_tpu} on the Edge TPU" if self._on_tpu else "all on the CPU"
        self.kernels_used = (
            f"{len(parts)} segments, {places}: {kind} "
            f"({self.partitions} partitions, {rest} builtin operators)"
        )

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

    def borders(self) -> dict[str, NDArray[Any]]:
        """Return every tensor that crossed a border in the last `invoke`, by name.

        Raises:
            InferenceLostError: isolated, the process is gone.
        """
        with self._lock:
            return self._network.borders()


def _parts(chain: Chain, delegate: Delegate | None, subject: object) -> Iterator[Part]:
    """The segments as the runtime gets them: on a delegate, those that are compiled for it."""
    for segment in chain.description.segments:
        taken = delegate if segment.device == "tpu" else None
        if taken is not None and segment.compiled is None:
            raise DeviceError(
                subject,
                f"{segment.file} is not compiled for the Edge TPU",
                "convert it where `edgetpu_compiler` is installed, or leave out the delegate",
            )
        name = segment.file if taken is None else str(segment.compiled)
        yield Part(chain.files[name], f"{subject}: {name}", taken)


def open_model(
    content: bytes,
    *,
    kernels: Kernels = Kernels.AUTO,
    runtime: Runtime = "litert",
    threads: int = 1,
    delegate: Delegate | None = None,
    subject: object = "model",
    isolated: bool = False,
    allowance: Allowance | None = None,
) -> Interpreter | ChainInterpreter:
    """Load a `.tflite` file or a chain, whichever the bytes are.

    Arguments as of `ChainInterpreter`.

    Raises:
        ModelFileError: the file is damaged, asks for more than it may or the runtime refuses it.
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
            isolated=isolated,
            allowance=allowance,
        )
    if delegate is not None:
        raise DeviceError(
            subject, "is not a chain, the Edge TPU would run little of it", "give a chain"
        )
    return Interpreter(
        content,
        kernels=kernels,
        runtime=runtime,
        threads=threads,
        subject=subject,
        isolated=isolated,
        allowance=allowance,
    )


def open_isolated(
    model: bytes | Path,
    *,
    kernels: Kernels = Kernels.AUTO,
    runtime: Runtime = "litert",
    threads: int = 1,
    delegate: Delegate | None = None,
    subject: object = None,
    allowance: Allowance | None = None,
) -> Interpreter | ChainInterpreter:
    """Load a `.tflite` file or a chain in a process of its own: whatever the file is, this goes on.

    Args:
        model: the file's content, or its path.
        kernels: which implementation of the operators to use on the CPU.
        runtime: which TFLite runtime to use.
        threads: number of threads, at least 1.
        delegate: the Edge TPU's library.
        subject: what errors call the model; its path where it is one.
        allowance: what the file may ask for; the default one where None.

    Raises:
        ModelFileError: the file is damaged, asks for more than it may, or the runtime refuses it,
            crashes on it or does not come to an end.
        DeviceError: see `open_model`.
    """
    return open_model(
        read_bytes(model) if isinstance(model, Path) else model,
        kernels=kernels,
        runtime=runtime,
        threads=threads,
        delegate=delegate,
        subject=subject or (model if isinstance(model, Path) else "model"),
        isolated=True,
        allowance=allowance,
    )


def _info(border: Border) -> TensorInfo:
    return TensorInfo(
        name=border.name,
        shape=tuple(border.shape),
        dtype=np.dtype(border.dtype.lower()),
        scale=border.scale,
        zero_point=border.zero_point,
    )
