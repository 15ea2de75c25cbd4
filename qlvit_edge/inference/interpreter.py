"""A model file ready to run: which kernels run, and what goes in and comes out.

A model is checked by our own reader before native code sees it. Native code runs in this process,
or isolated, in one of its own. What a model's outputs mean is left to others.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.arithmetic import Arithmetic, arithmetic_of_file
from qlvit_edge.inference.loaded import LoadedModel, require_ends, require_moderate
from qlvit_edge.inference.native import Kernels, Runtime
from qlvit_edge.inference.network import LocalNetwork, Part, Settings
from qlvit_edge.inference.reference_form import needs_reference_form, reference_form
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.operators import EDGETPU_OPERATOR
from qlvit_edge.modelfile.reader import read_bytes, read_document

__all__ = ["Interpreter", "Kernels", "Runtime"]


class Interpreter(LoadedModel):
    """A loaded model with one input and one or two outputs, ready to run.

    Attributes:
        input: the input tensor.
        outputs: the output tensors: the answer, and the features it is made of where the file
            gives them.
        kernels: the kernels that were asked for.
        isolated: whether it runs in a process of its own.
        delegated: numbers of the operators in each part of the graph that XNNPACK took over.
        partitions: number of those parts.
        operators_left: number of operators outside those parts.
        kernels_used: what really runs, in words.
        xnnpack_missing: XNNPACK was to be expected but took no operator. Besides models it
            does not support, the cause is a hidden /sys (a chroot, a hardened service),
            where it is switched off without a word.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        kernels: Kernels = Kernels.AUTO,
        runtime: Runtime = "litert",
        threads: int = 1,
        keep_all_tensors: bool = False,
        subject: object = None,
        isolated: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: the content of a .tflite file, or its path.
            kernels: which implementation of the operators to use.
            runtime: which TFLite runtime to use.
            threads: number of threads, at least 1.
            keep_all_tensors: keep intermediate results for `tensors`; not with
                ``Kernels.AUTO``, since a delegate does not give its inner tensors.
            subject: what errors call the model; its path where it is one.
            isolated: run it in a process of its own, once on zeros before it counts as loaded.
            allowance: what the file may ask for; the default one where None.

        Raises:
            ModelFileError: the file is damaged, has not one input and one or two outputs, asks
                for more than it may or the runtime refuses it; isolated: the runtime crashes on it.
            DeviceError: the runtime is not installed or does not start.
            ValueError: fewer than 1 thread, or ``keep_all_tensors`` with ``Kernels.AUTO`` or
                ``isolated``.
        """
        if threads < 1:
            raise ValueError(f"at least 1 thread is needed, not {threads}")
        kernels = Kernels(kernels)
        if keep_all_tensors and (isolated or kernels is Kernels.AUTO):
            raise ValueError("keep_all_tensors needs builtin or reference kernels, not isolated")
        if subject is None:
            subject = model if isinstance(model, Path) else "model"
        allowance = allowance or Allowance()
        content = read_bytes(model) if isinstance(model, Path) else model
        document = self._document = read_document(content, subject=subject)
        require_ends(len(document.inputs), len(document.outputs), subject)
        for tensors, what in ((document.inputs, "input"), (document.outputs, "output")):
            require_moderate(tensors, what, subject)
        allowance.require(document, subject)
        _require_uncompiled(document, subject)
        if kernels is Kernels.REFERENCE and needs_reference_form(document):
            content = reference_form(content, subject)
        settings = Settings(
            (Part(content, str(subject)),),
            kernels,
            runtime,
            threads,
            keep_all_tensors=keep_all_tensors,
        )
        super().__init__(settings, subject, isolated=isolated, allowance=allowance)
        self._keep = keep_all_tensors
        (facts,) = self._network.facts
        self.input, self.outputs = self._require_ends(facts.inputs, facts.outputs)
        self.delegated, self.operators_left = facts.delegated, facts.operators_left
        self.partitions = len(self.delegated)
        self.xnnpack_missing = (
            kernels is Kernels.AUTO and runtime == "litert" and not self.partitions
        )
        self.kernels_used = _words(
            kernels, self.partitions, self.operators_left, self.xnnpack_missing
        )

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """Which arithmetic the kernels that run compute, and whether that is proved."""
        return arithmetic_of_file(
            self._document,
            self._runtime,
            reference=self.kernels is Kernels.REFERENCE,
            partitions=self.partitions,
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return every tensor of the graph after the last `invoke`, by name; copies.

        Raises:
            ValueError: the interpreter was made without ``keep_all_tensors``.
        """
        if not self._keep or not isinstance(self._network, LocalNetwork):
            raise ValueError("make the interpreter with keep_all_tensors=True")
        return self._network.tensors()


def _require_uncompiled(document: Document, subject: object) -> None:
    """Refuse a file that an Edge TPU alone could run.

    Raises:
        ModelFileError: saying what to give.
    """
    if any(operator.custom_code == EDGETPU_OPERATOR for operator in document.operators):
        raise ModelFileError(
            subject,
            "it is compiled for an Edge TPU, and nothing can stand in for one that is lost",
            "give the chain that `convert --target edgetpu` writes, which holds it for both",
        )


def _words(kernels: Kernels, partitions: int, rest: int, missing: bool) -> str:
    left = f"{rest} builtin operator{'' if rest == 1 else 's'}"
    if partitions:
        return f"XNNPACK ({partitions} partition{'' if partitions == 1 else 's'}, {left})"
    if kernels is Kernels.REFERENCE:
        return f"reference ({rest} operator{'' if rest == 1 else 's'})"
    return f"builtin ({left}{', XNNPACK took none' if missing else ''})"
