"""LiteRT's own profiler, through the C interface of the library in the ai-edge-litert wheel.

The wheel's Python interface has no profiler; its `libLiteRt.so` (public C interface, loaded
by the package itself) has one, which also gives XNNPACK's time for each of its operators. It
runs the model as a `CompiledModel` on the CPU, with the same delegate as the interpreter.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlvit_edge.errors import DeviceError
from qlvit_edge.quiet import native_stderr_silenced

OPERATOR = 1 << 1
"""Kind of an event: an operator of the graph on a builtin kernel; `index` is its number."""
DELEGATED = 1 << 3
"""Kind of an event: an operator inside a delegate; `index` counts from 0 in each part."""

_KINDS = frozenset(1 << bit for bit in range(9))
_CPU = 1
_MOST_DIMENSIONS = 8
_ELEMENTS = {"float32": 1, "int32": 2, "uint8": 3, "int8": 9}
_SLACK = 2  # room for events larger than expected, so that a change is seen, not suffered
_WHOLE = "Invoke"

_Handle = ctypes.c_void_p


@dataclass(frozen=True)
class Event:
    """One entry of the profiler.

    Attributes:
        name: of the kernel.
        kind: `OPERATOR`, `DELEGATED` or something else.
        microseconds: whole ones.
        index: number of the operator; see the kinds.
    """

    name: str
    kind: int
    microseconds: int
    index: int


class _EventData(ctypes.Structure):
    """`ProfiledEventData` of litert_profiler_event.h, with the C++ `MemoryUsage` (3 words)."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start", ctypes.c_uint64),
        ("elapsed", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _TensorType(ctypes.Structure):
    """`LiteRtRankedTensorType` without strides."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * _MOST_DIMENSIONS),
        ("strides", ctypes.c_uint32 * _MOST_DIMENSIONS),
    )


class ProfiledModel:
    """A model that can be run with the profiler; for a process of its own, see `run_in_child`.

    Everything the library makes lives as long as the process: it is short.
    """

    def __init__(
        self,
        content: bytes,
        inputs: tuple[Sequence[int], str],
        outputs: Sequence[tuple[Sequence[int], str]],
    ) -> None:
        """Load a model for one thread.

        Args:
            content: of a .tflite file that was checked before.
            inputs: shape and type of its one input.
            outputs: shape and type of each of its outputs.

        Raises:
            DeviceError: there is no such library or it does not do as it is told.
        """
        self._library = _library()
        self._kept: list[object] = []
        self._model = _Handle()
        self._profiler = _Handle()
        with native_stderr_silenced():
            environment = self._make("LiteRtCreateEnvironment", 0, None)
            self._keep(content)
            model = self._make(
                "LiteRtCreateModelFromBuffer", environment, content, ctypes.c_size_t(len(content))
            )
            self._model = self._make(
                "LiteRtCreateCompiledModel", environment, model, self._options()
            )
            self._profiler = self._make("LiteRtCompiledModelGetProfiler", self._model)
            self._buffers = [
                (_Handle * len(tensors))(
                    *(self._buffer(environment, kind, n, *facts) for n, facts in enumerate(tensors))
                )
                for kind, tensors in (("Input", [inputs]), ("Output", outputs))
            ]
        if not self._profiler:
            raise _refused("it gives no profiler")

    def run(self) -> tuple[int, list[Event]]:
        """Run once; returns the microseconds of the whole and the events of its operators."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        given, made = self._buffers
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(given)),
            given,
            ctypes.c_size_t(len(made)),
            made,
        )
        self._call("LiteRtStopProfiler", self._profiler)
        events = self._events()
        whole = [event.microseconds for event in events if event.name == _WHOLE]
        if not whole:
            raise _refused("its profiler does not report the whole inference")
        return whole[0], [event for event in events if event.kind in (OPERATOR, DELEGATED)]

    def _events(self) -> list[Event]:
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        room = (_EventData * (_SLACK * count.value))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, room)
        found = []
        for entry in room[: count.value]:
            if entry.kind not in _KINDS or not 0 <= entry.source <= 2:
                raise _refused("its profiler's events have a form that is not known")
            name = (entry.tag or b"").decode("utf-8", "replace")
            # Entries of other kinds carry numbers that are no time.
            found.append(Event(name, entry.kind, min(entry.elapsed, 1 << 40), entry.index))
        return [event for event in found if event.microseconds < 1 << 40 and event.kind != 1 << 5]

    def _options(self) -> _Handle:
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        nothing = ctypes.CFUNCTYPE(None, _Handle)(lambda pointer: None)
        self._keep(nothing)
        for name, text in (
            (b"runtime_options_string", b"enable_profiling = true\n"),
            (b"xnnpack", b"num_threads = 1\n"),
        ):
            payload = ctypes.create_string_buffer(text)
            self._keep(payload)
            opaque = self._make(
                "LiteRtCreateOpaqueOptions", name, ctypes.cast(payload, _Handle), nothing
            )
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        return options

    def _buffer(
        self, environment: _Handle, kind: str, number: int, shape: Sequence[int], dtype: str
    ) -> _Handle:
        if dtype not in _ELEMENTS or len(shape) > _MOST_DIMENSIONS:
            raise _refused(f"a tensor of type {dtype} and rank {len(shape)} is not provided for")
        needs = self._make(
            f"LiteRtGetCompiledModel{kind}BufferRequirements",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(number),
        )
        described = _TensorType(_ELEMENTS[dtype], len(shape))
        described.dimensions[: len(shape)] = list(shape)
        buffer = self._make(
            "LiteRtCreateManagedTensorBufferFromRequirements",
            environment,
            ctypes.byref(described),
            needs,
        )
        address = self._make("LiteRtLockTensorBuffer", buffer, after=(1,))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        ctypes.memset(address, 0, size)
        self._call("LiteRtUnlockTensorBuffer", buffer)
        return buffer

    def _make(self, name: str, *arguments: object, after: tuple[object, ...] = ()) -> _Handle:
        """Call a function whose result comes through a pointer."""
        made = _Handle()
        self._call(name, *arguments, ctypes.byref(made), *after)
        return made

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise _refused(f"{name} failed with status {status}")

    def _keep(self, thing: object) -> None:
        self._kept.append(thing)


def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None or found.origin is None:
        raise DeviceError("profiler", "ai-edge-litert is not installed", "pip install it")
    path = Path(found.origin).with_name("libLiteRt.so")
    try:
        library = ctypes.CDLL(str(path))
        library.LiteRtCompiledModelGetProfiler  # noqa: B018
    except (OSError, AttributeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise _refused(f"its library has no profiler ({reason})") from None
    return library


def _refused(finding: str) -> DeviceError:
    return DeviceError("profiler of ai-edge-litert", finding, "leave out --profile, or use 2.3")
