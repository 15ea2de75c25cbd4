"""One face for the TFLite runtimes: which kernels run, and what goes in and comes out.

Two runtimes are known, `ai-edge-litert` and its fallback `tflite-runtime`; both are imported
only when asked for. A model is checked by our own reader before native code sees it. What a
model's outputs mean is left to others.
"""

from __future__ import annotations

import ctypes
import importlib
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import RuntimeName
from qlvit_edge.errors import DeviceError, ModelFileError
from qlvit_edge.inference.arithmetic import Arithmetic, arithmetic_of_file, require_version
from qlvit_edge.inference.reference_form import needs_reference_form, reference_form
from qlvit_edge.inference.tensor_info import TensorInfo
from qlvit_edge.modelfile.operators import require_allowed
from qlvit_edge.modelfile.reader import read_bytes, read_document
from qlvit_edge.quiet import native_stderr_silenced

Runtime = RuntimeName

_MODULES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}


class Kernels(StrEnum):
    """Which implementation of the operators runs.

    Attributes:
        AUTO: the runtime's default, XNNPACK where it is available.
        BUILTIN: the optimised builtin kernels without any delegate.
        REFERENCE: the reference kernels, the same bytes on every machine. They can abort
            the process on odd models: see `qlvit_edge.inference.child`.
    """

    AUTO = "auto"
    BUILTIN = "builtin"
    REFERENCE = "reference"


_RESOLVERS = {
    Kernels.AUTO: "AUTO",
    Kernels.BUILTIN: "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    Kernels.REFERENCE: "BUILTIN_REF",
}


class Interpreter:
    """A loaded model with one input and one output, ready to run.

    Attributes:
        input: the input tensor.
        output: the output tensor.
        kernels: the kernels that were asked for.
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
    ) -> None:
        """Load a model.

        Args:
            model: the content of a .tflite file, or its path.
            kernels: which implementation of the operators to use.
            runtime: which TFLite runtime to use.
            threads: number of threads, at least 1.
            keep_all_tensors: keep intermediate results for `tensors`; not with
                ``Kernels.AUTO``, since a delegate does not give its inner tensors.

        Raises:
            ModelFileError: the file is damaged, has not one input and one output, or the
                runtime refuses it.
            DeviceError: the runtime is not installed or does not start.
            ValueError: fewer than 1 thread, or ``keep_all_tensors`` with ``Kernels.AUTO``.
        """
        if threads < 1:
            raise ValueError(f"at least 1 thread is needed, not {threads}")
        kernels = Kernels(kernels)
        if keep_all_tensors and kernels is Kernels.AUTO:
            raise ValueError("keep_all_tensors needs builtin or reference kernels")
        subject: object = model if isinstance(model, Path) else "model"
        content = read_bytes(model) if isinstance(model, Path) else model
        self._document = read_document(content, subject=subject)
        require_allowed(self._document, subject)
        if kernels is Kernels.REFERENCE and needs_reference_form(self._document):
            content = reference_form(content)
        self._native = load_native(
            content, subject, kernels, runtime, threads, keep_all_tensors=keep_all_tensors
        )
        self.kernels = kernels
        self._runtime: Runtime = runtime
        self._keep = keep_all_tensors
        self._names: list[tuple[str, int]] = []
        self.input = _only(self._native.get_input_details(), "input", subject)
        self.output = _only(self._native.get_output_details(), "output", subject)
        self._input_index: int = self._native.get_input_details()[0]["index"]
        self._output_index: int = self._native.get_output_details()[0]["index"]
        self.delegated, self.operators_left = plan(self._native)
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

    def invoke(self, values: NDArray[Any]) -> NDArray[Any]:
        """Run the model once.

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
        self._native.set_tensor(self._input_index, np.ascontiguousarray(values))
        run_native(self._native)
        return np.asarray(self._native.get_tensor(self._output_index))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return every tensor of the graph after the last `invoke`, by name; copies.

        Raises:
            ValueError: the interpreter was made without ``keep_all_tensors``.
        """
        if not self._keep:
            raise ValueError("make the interpreter with keep_all_tensors=True")
        if not self._names:  # listing them takes as long as a small network
            details = self._native.get_tensor_details()
            self._names = [(str(entry["name"]), int(entry["index"])) for entry in details]
        found: dict[str, NDArray[Any]] = {}
        for name, index in self._names:
            try:
                found[name] = np.asarray(self._native.get_tensor(index))
            except ValueError:  # scratch space of a kernel has no value to give
                continue
        return found


def load_native(
    content: bytes,
    subject: object,
    kernels: Kernels,
    runtime: Runtime,
    threads: int,
    *,
    keep_all_tensors: bool = False,
    delegate: str | None = None,
) -> Any:
    """Return the runtime's own interpreter of a model that our reader has checked.

    Args:
        content: the .tflite file.
        subject: what errors call it.
        kernels: which implementation of the operators to use.
        runtime: which TFLite runtime to use.
        threads: number of threads.
        keep_all_tensors: keep intermediate results.
        delegate: name or path of a library that takes over what it can.

    Raises:
        ModelFileError: the runtime refuses the model.
        DeviceError: the runtime or the delegate does not start.
    """
    native = load_runtime(runtime)
    delegates = None if delegate is None else [_load_delegate(native, delegate)]
    try:
        with native_stderr_silenced():
            loaded = native.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=getattr(native.OpResolverType, _RESOLVERS[kernels]),
                experimental_preserve_all_tensors=keep_all_tensors,
                experimental_delegates=delegates,
            )
            loaded.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            subject,
            f"{runtime} refuses it ({_first_line(error)})",
            "give a model that this runtime supports",
        ) from error
    return loaded


def run_native(native: Any) -> None:
    """Run the runtime's own interpreter once.

    Raises:
        DeviceError: the runtime failed.
    """
    try:
        native.invoke()
    except RuntimeError as error:
        raise DeviceError(
            "runtime", f"the model did not run ({_first_line(error)})", "try other kernels"
        ) from error


def plan(native: Any) -> tuple[list[list[int]], int]:
    """Return the operators of each part that a delegate took over and the number of those left."""
    return _plan(native._get_ops_details())


_PLUGIN = ("create", "destroy")


def _load_delegate(native: Any, library: str) -> Any:
    try:
        # The runtime's own wrapper prints a traceback when one of these fails.
        opened = ctypes.CDLL(library) if library else None
        if not all(hasattr(opened, f"tflite_plugin_{what}_delegate") for what in _PLUGIN):
            raise DeviceError(
                library or "delegate", "it is no TFLite delegate", "name the delegate's library"
            )
        with native_stderr_silenced():
            return native.load_delegate(library)
    except OSError as error:
        raise DeviceError(
            library, f"it cannot be loaded ({_first_line(error)})", "install it, or name its file"
        ) from None
    except ValueError as error:
        raise DeviceError(
            library, f"the device is refused ({_first_line(error)})", "check that it is plugged in"
        ) from None


def load_runtime(runtime: Runtime) -> Any:
    """Import a runtime's interpreter module and return it.

    Raises:
        DeviceError: it is not installed, is too old or does not start.
    """
    if runtime not in _MODULES:
        raise ValueError(f"runtime {runtime!r} is not one of {', '.join(_MODULES)}")
    require_version(runtime)
    module, package = _MODULES[runtime]
    try:
        with native_stderr_silenced():
            return importlib.import_module(module)
    except ImportError as error:
        remedy = f"pip install {package}"
        if runtime == "tflite-runtime":
            remedy = "pip install tflite-runtime 'numpy<2' (Python 3.11 or older)"
        raise DeviceError(
            runtime, f"it cannot be imported ({_first_line(error)})", remedy
        ) from None


def _only(details: list[dict[str, Any]], what: str, subject: object) -> TensorInfo:
    if len(details) != 1:
        raise ModelFileError(
            subject, f"it has {len(details)} {what}s", f"give a model with one {what}"
        )
    entry = details[0]
    scale, zero_point = entry["quantization"]
    return TensorInfo(
        name=str(entry["name"]),
        shape=tuple(int(side) for side in entry["shape"]),
        dtype=np.dtype(entry["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _plan(operators: list[dict[str, Any]]) -> tuple[list[list[int]], int]:
    """Return the operators of each delegated part and the number of those left to others.

    The runtime lists delegated operators beside the delegate that replaced them: those
    that compute a delegate's outputs from its inputs.
    """
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    others = [op for op in operators if op["op_name"] != "DELEGATE"]
    producer = {int(t): i for i, op in enumerate(others) for t in op["outputs"]}
    covered: set[int] = set()
    parts = []
    for delegate in delegates:
        part: list[int] = []
        given = {int(t) for t in delegate["inputs"]}
        open_tensors = [int(t) for t in delegate["outputs"]]
        while open_tensors:
            tensor = open_tensors.pop()
            operator = producer.get(tensor)
            if tensor in given or operator is None or operator in covered:
                continue
            covered.add(operator)
            part.append(operator)
            open_tensors.extend(int(t) for t in others[operator]["inputs"])
        parts.append(sorted(part))
    return parts, len(others) - len(covered)


def _words(kernels: Kernels, partitions: int, rest: int, missing: bool) -> str:
    left = f"{rest} builtin operator{'' if rest == 1 else 's'}"
    if partitions:
        return f"XNNPACK ({partitions} partition{'' if partitions == 1 else 's'}, {left})"
    if kernels is Kernels.REFERENCE:
        return f"reference ({rest} operator{'' if rest == 1 else 's'})"
    return f"builtin ({left}{', XNNPACK took none' if missing else ''})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
