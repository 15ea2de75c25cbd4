"""A process of its own for native code, which can crash, hang or take all memory.

A `Child` calls functions when it is told to, under limits of memory and time; whatever happens
in it is an error like any other here. What it answers is not trusted more than the file it runs:
only plain values, arrays and the classes of this package are taken from it.

It ignores Ctrl-C, which is its owner's to answer, and ends with its owner, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from io import BytesIO
from typing import Any, BinaryIO, ParamSpec, TypeVar

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.served import HEADER, PIECE
from qlvit_edge.presence import present
from qlvit_edge.quiet import memory_file

P = ParamSpec("P")
T = TypeVar("T")

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Environment of children, which run side by side: NumPy's own threads get in the way."""

DEFAULT_TIMEOUT = 600.0
"""Seconds after which a child of `run_in_child` that does not answer is ended."""

MOST_ANSWER_BYTES = 256 * 1024 * 1024
"""What a child may answer at once."""

# -P: the working folder is not searched for modules; started in a checkout, the child would
# otherwise import the sources there instead of the installed package.
_CHILD = [sys.executable, "-P", "-c", "from qlvit_edge.inference.served import serve; serve()"]

_LONGEST_POLL = 3600.0
"""Seconds; the system counts its own waiting in 32 bits."""

_LONGEST_END = 5.0
"""Seconds that the end of a process is waited for."""

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_NONSENSE = "the runtime broke its process, which answers nonsense"


class ChildLostError(Exception):
    """The child crashed, took too much or did not answer; it is ended.

    Attributes:
        finding: which of these, in words.
        killed: whether somebody else ended it (SIGKILL, SIGTERM), which says nothing of its work.
    """

    def __init__(self, finding: str, *, killed: bool = False) -> None:
        """Say what happened."""
        super().__init__(finding)
        self.finding, self.killed = finding, killed


class Child:
    """A child process that calls functions; safe to use from several threads.

    Attributes:
        alive: whether it can be told something; False too in a process that was forked off.
    """

    def __init__(self, memory_bytes: int | None = None) -> None:
        """Start the process.

        Args:
            memory_bytes: that it may allocate; None for no limit.
        """
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._memory_bytes = memory_bytes
        # A file, not a pipe: nobody reads along, and a full pipe would stop the child.
        self._noise = memory_file()
        theirs, ours = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*_CHILD, str(theirs), str(memory_bytes or 0)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._noise,
                bufsize=0,
                pass_fds=(theirs,),
                # Out of the terminal's reach: Ctrl-C and Ctrl-Z are for its owner.
                start_new_session=True,
                env={**os.environ, **ONE_THREAD},
            )
        except BaseException:
            os.close(ours)
            self._noise.close()
            raise
        finally:
            os.close(theirs)
        self._requests = present(self._process.stdin, "the child's input").fileno()
        self._answers = present(self._process.stdout, "the child's output").fileno()
        os.set_blocking(self._requests, False)
        _enlarge(self._requests)
        self._writable = _polled(self._requests, select.POLLOUT)
        self._readable = _polled(self._answers, select.POLLIN)
        self._finish = weakref.finalize(self, _end, self._owner, self._process, self._noise, ours)

    @property
    def alive(self) -> bool:  # noqa: D102 - described by the class
        return self._finish.alive and self._owner == os.getpid()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def call(
        self,
        seconds: float,
        function: Callable[P, T],
        /,
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        """Call ``function(*arguments, **options)`` in the child.

        Args:
            seconds: after which it is ended if it has not answered.
            function: a function at the top of an importable module.
            arguments: picklable arguments.
            options: picklable keyword arguments.

        Returns:
            What the function returned.

        Raises:
            ChildLostError: the child crashed, took too much memory or did not answer in time.
            QLViTEdgeError: the function raised one; other exceptions come back as they are
                where they can be pickled.
        """
        message = _pickled(function, arguments, options)
        with self._lock:
            if not self.alive:
                raise ChildLostError("its process has been ended")
            try:
                deadline = time.monotonic() + seconds
                answer = self._exchange(message, deadline)
            except TimeoutError:
                self.close()
                raise ChildLostError(f"no answer within {seconds:.3g} s") from None
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise self._loss() from None
            except BaseException:  # Ctrl-C: an answer that is still to come would be the next one's
                self.close()
                raise
        return self._value(answer)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process; allowed any number of times."""
        self._finish()

    def _exchange(self, message: bytes, deadline: float) -> memoryview:
        """Send a message and return the answer."""
        left = memoryview(HEADER.pack(len(message)) + message)
        while left:
            try:
                left = left[os.write(self._requests, left[:PIECE]) :]
            except BlockingIOError:
                _wait(self._writable, deadline)
        received = bytearray()
        wanted = HEADER.size
        while len(received) < wanted:
            _wait(self._readable, deadline)
            piece = os.read(self._answers, PIECE)
            if not piece:
                raise EOFError
            received += piece
            if wanted == HEADER.size <= len(received):
                wanted += HEADER.unpack_from(received)[0]
                if wanted > MOST_ANSWER_BYTES:
                    raise ChildLostError(_NONSENSE)
        return memoryview(received)[HEADER.size :]

    def _loss(self) -> ChildLostError:
        """End what is left of the process and say why it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        code = self._process.poll()
        self._noise.seek(0)
        noise = self._noise.read()
        self.close()
        if code is None:
            return ChildLostError("the runtime broke its process, which stopped answering")
        text = f"the runtime crashed on it ({cause_of(code, noise)}"
        if b"bad_alloc" in noise or b"MemoryError" in noise:
            text += f", with {self._allowed()} of memory"
        return ChildLostError(f"{text})", killed=code in _KILLED)

    def _allowed(self) -> str:
        limit = self._memory_bytes
        return "no limit" if limit is None else f"{limit / 1e6:.0f} MB"

    def _value(self, answer: memoryview) -> Any:
        try:
            failed, value = _Plain(BytesIO(answer)).load()
        except Exception:
            self.close()
            raise ChildLostError(_NONSENSE) from None
        if not failed:
            return value
        if isinstance(value, MemoryError) or not isinstance(value, Exception):
            raise ChildLostError(f"it takes more than the {self._allowed()} of memory it may have")
        raise value


def run_in_child(
    subject: object,
    function: Callable[P, T],
    /,
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """Call ``function(*arguments, **options)`` in a fresh Python process, without a memory limit.

    Args:
        subject: the model file, for messages.
        function: a function at the top of an importable module.
        arguments: picklable arguments.
        options: picklable keyword arguments.

    Returns:
        What the function returned.

    Raises:
        ModelFileError: the child crashed or did not answer within `DEFAULT_TIMEOUT`.
        QLViTEdgeError: the function raised one; other exceptions come back as they are
            where they can be pickled.
    """
    return run_limited(subject, None, DEFAULT_TIMEOUT, function, *arguments, **options)


def run_limited(
    subject: object,
    memory_bytes: int | None,
    seconds: float,
    function: Callable[P, T],
    /,
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """Do what `run_in_child` does under limits of memory, None for no limit, and time.

    Raises:
        ModelFileError: the child crashed, took too much memory or did not answer in time.
        QLViTEdgeError: see `run_in_child`.
    """
    child = Child(memory_bytes)
    try:
        return child.call(seconds, function, *arguments, **options)
    except ChildLostError as error:
        raise ModelFileError(subject, error.finding, "use other kernels") from None
    finally:
        child.close()


_PICKLING = threading.Lock()


def _pickled(*what: object) -> bytes:
    """Pickle what threads may share, one thread at a time.

    Pickling asks objects for their ``__dict__``. Where CPython 3.11 makes it for one thread, its
    collector of garbage may let another thread run; if that one asks the same object, two
    dictionaries share one table, and the collector crashes when the first has gone.
    """
    with _PICKLING:
        return pickle.dumps(what, protocol=5)


def cause_of(returncode: int, noise: bytes) -> str:
    """Say in words why a child ended: its signal, or the last line it wrote to stderr."""
    if returncode < 0:
        try:
            return signal.Signals(-returncode).name
        except ValueError:
            return f"signal {-returncode}"
    lines = noise.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"exit code {returncode}"


class _Plain(pickle.Unpickler):
    """Takes arrays, errors, plain values and classes of this package, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        found, origin = None, module.partition(".")[0]
        if origin in ("builtins", "pathlib", "qlvit_edge"):
            found = super().find_class(module, name)
        # What a module of ours merely imports, or names behind a dot, is not ours.
        if (
            not isinstance(found, type)
            or found.__module__.partition(".")[0] != origin
            or (origin == "builtins" and not issubclass(found, Exception))
        ):
            raise pickle.UnpicklingError(f"{module}.{name} is not taken from a child")
        return found


_PLAIN = frozenset(
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.multiarray", "scalar"),
        (f"{core}.numeric", "_frombuffer"),
    )
) | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "bytearray"),
    ("collections", "Counter"),
    ("_codecs", "encode"),
    ("qlvit_edge.errors", "restore"),
}


def _enlarge(pipe: int) -> None:
    """Let an image go through a pipe at once, where the system allows."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE)


def _polled(descriptor: int, event: int) -> select.poll:
    waiting = select.poll()
    waiting.register(descriptor, event)
    return waiting


def _wait(pipe: select.poll, deadline: float) -> None:
    """Wait until a pipe can be written or read.

    Raises:
        TimeoutError: not before the deadline.
    """
    while not pipe.poll(1e3 * max(0.0, min(deadline - time.monotonic(), _LONGEST_POLL))):
        if not time.monotonic() < deadline:
            raise TimeoutError


def _end(owner: int, process: subprocess.Popen[bytes], noise: BinaryIO, lifeline: int) -> None:
    """Let go of a child; only its owner ends it, not a process forked off the owner."""
    os.close(lifeline)
    if os.getpid() == owner:
        process.kill()
        # A process that waits for a disk that is gone ends when the system lets it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LONGEST_END)
    for stream in (process.stdin, process.stdout, noise):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
