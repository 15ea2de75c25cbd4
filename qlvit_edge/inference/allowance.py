"""What a model file may ask of the machine that runs it: operators, memory, time.

The figures are stated here and in `docs/limits.md`, which says how they were measured. Whoever
trusts a file that needs more widens them.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.operators import require_runnable

MEMORY_BYTES = 512 * 1024 * 1024
"""Of a child process, besides `FILE_COPIES` of the file and `THREAD_BYTES` per thread."""

FILE_COPIES = 4
"""The file itself, as sent, as the runtime holds it, and its weights as XNNPACK packs them."""

THREAD_BYTES = 16 * 1024 * 1024
"""Stack and allocator of one thread."""

LOAD_SECONDS = 60.0
"""To start a process, load a model in it and run it once."""

INFERENCE_SECONDS = 10.0
"""Of one inference, where `SLOWEST` times the first one is not more."""

SLOWEST = 20.0


@dataclass(frozen=True)
class Allowance:
    """What a model file may ask.

    Attributes:
        operators: names of operators that may run besides
            `qlvit_edge.modelfile.operators.RUNNING_OPERATORS`, whatever decides their sizes.
        any_operator: every operator may run.
        memory_bytes: of the process that runs the model; None: by size of the file and threads.
        load_seconds: to load the model and run it once.
        inference_seconds: of one inference; 20 times the first one where that is more.

    Raises:
        ValueError: memory or seconds are not above 0; seconds may be infinite.
    """

    operators: frozenset[str] = frozenset()
    any_operator: bool = False
    memory_bytes: int | None = None
    load_seconds: float = LOAD_SECONDS
    inference_seconds: float = INFERENCE_SECONDS

    def __post_init__(self) -> None:
        """Refuse what limits nothing and what no process can keep to."""
        memory = 1 if self.memory_bytes is None else self.memory_bytes
        for limit in (memory, self.load_seconds, self.inference_seconds):
            if not limit > 0:
                raise ValueError(f"a limit must be above 0, not {limit}")

    def require(self, document: Document, subject: object) -> None:
        """Refuse a file with an operator that may not run.

        Raises:
            ModelFileError: naming the operator.
        """
        if not self.any_operator:
            require_runnable(document, subject, self.operators)

    def memory(self, file_bytes: int, threads: int) -> int:
        """Return the bytes that the process of a file may take."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        return MEMORY_BYTES + FILE_COPIES * file_bytes + THREAD_BYTES * threads

    def inference(self, first_seconds: float) -> float:
        """Return the seconds that an inference may take where the first took so many."""
        return max(self.inference_seconds, SLOWEST * first_seconds)
