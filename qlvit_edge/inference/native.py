"""The TFLite runtimes themselves: importing them, loading a model, running it once.

Two runtimes are known, `ai-edge-litert` and its fallback `tflite-runtime`; both are imported
only when asked for. This is what runs in a process of its own, so it imports as little as
possible: whatever checks a file or explains it stands elsewhere.
"""

from __future__ import annotations

import ctypes
import importlib
from enum import StrEnum
from typing import Any

from qlvit_edge.choices import RuntimeName
from qlvit_edge.errors import AcceleratorError, DeviceError, ModelFileError
from qlvit_edge.inference.arithmetic import require_version
from qlvit_edge.inference.delegates import Delegate
from qlvit_edge.quiet import native_stderr_silenced

Runtime = RuntimeName

_WORDLESS = "without a word: what it allocates is probably more than it may have"

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


def load_native(
    content: bytes,
    subject: object,
    kernels: Kernels,
    runtime: Runtime,
    threads: int,
    *,
    keep_all_tensors: bool = False,
    delegate: Delegate | None = None,
) -> Any:
    """Return the runtime's own interpreter of a model that our reader has checked.

    Args:
        content: the .tflite file.
        subject: what errors call it.
        kernels: which implementation of the operators to use.
        runtime: which TFLite runtime to use.
        threads: number of threads.
        keep_all_tensors: keep intermediate results.
        delegate: library that takes over what it can.

    Raises:
        ModelFileError: the runtime refuses the model.
        AcceleratorError: the delegate refuses its device or the model.
        DeviceError: the runtime is missing, or the delegate's library is or is none.
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
        if delegate is not None:
            raise AcceleratorError(
                delegate, f"{runtime} and it refuse {subject} ({_first_line(error)})", _REPLUG
            ) from error
        raise ModelFileError(
            subject,
            f"{runtime} refuses it ({_first_line(error)})",
            "give a model that this runtime supports",
        ) from error
    return loaded


def run_native(native: Any, subject: object, delegate: Delegate | None = None) -> None:
    """Run the runtime's own interpreter once.

    Args:
        native: what `load_native` returned.
        subject: what errors call the model.
        delegate: the library that took over parts of it, if one did.

    Raises:
        AcceleratorError: it failed, with a delegate.
        DeviceError: it failed, without one.
    """
    try:
        native.invoke()
    except RuntimeError as error:
        if delegate is not None:
            raise AcceleratorError(
                delegate, f"{subject} did not run on it ({_first_line(error)})", _REPLUG
            ) from error
        raise DeviceError(
            subject, f"it did not run ({_first_line(error)})", "try other kernels"
        ) from error


def plan(native: Any) -> tuple[list[list[int]], int]:
    """Return the operators of each part that a delegate took over and the number of those left."""
    return _plan(native._get_ops_details())


_PLUGIN = ("create", "destroy")
_REPLUG = "plug it in again, into a powered socket; without --delegate all runs on the CPU"


def _load_delegate(native: Any, delegate: Delegate) -> Any:
    library = delegate.library
    try:
        # The runtime's own wrapper prints a traceback when one of these fails.
        opened = ctypes.CDLL(library) if library else None
        if not all(hasattr(opened, f"tflite_plugin_{what}_delegate") for what in _PLUGIN):
            raise DeviceError(
                library or "delegate", "it is no TFLite delegate", "name the delegate's library"
            )
        with native_stderr_silenced():
            return native.load_delegate(library, dict(delegate.options))
    except OSError as error:
        raise DeviceError(
            library, f"it cannot be loaded ({_first_line(error)})", "install it, or name its file"
        ) from None
    except ValueError as error:
        raise AcceleratorError(
            delegate, f"the device is refused ({_last_line(error)})", "check that it is plugged in"
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


def _first_line(error: BaseException) -> str:
    """What the runtime says; where it says nothing, it could not allocate its tensors."""
    wordless = _WORDLESS if type(error) is RuntimeError else type(error).__name__
    return (str(error).strip().splitlines() or [wordless])[0][:200]


def _last_line(error: BaseException) -> str:
    """What a delegate says: the runtime's own words stand above it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or ["without a word"])[-1][:200]
