"""Feed odd models to everything that runs models; only child processes may come to harm.

    python tests/attacks/fuzz_native.py [--inputs 10000] [--seed 1] [--commands 50]

Each input is described by the reader, opened on kernels drawn at random, run on noise, and
classified with where it has labels; every --commands-th is given to the commands themselves.
Children are used for several files, which is what makes thousands of them quick. A run fails on
anything but an answer or one line of a `QLViTEdgeError`, on an input that takes longer than the
limits, and when this process or a child holds more than it may. The offending input is kept.
Exit code 1 for a failure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import cv2
import numpy as np
from examine import examine
from fuzz import keep, peak_megabytes
from native_models import NativeModels
from tiny_metadata import plain_image
from tiny_model import COLOURS

from qlvit_edge import Classifier
from qlvit_edge.bundled import FIELDS
from qlvit_edge.cli import main as run_command_line
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.inference import isolation
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.child import Child
from qlvit_edge.inference.native import Kernels
from qlvit_edge.memory import peak_memory
from qlvit_edge.modelfile.operators import ALLOWED_OPERATORS

MEMORY = 600 * 1024 * 1024
SECONDS = 4.0
SLACK = 12.0
"""Seconds beyond the limits of loading and of three inferences, on a busy machine."""

USES = 200
"""Files that a child is used for."""


class _Borrowed:
    """A child that goes back where it came from when it is closed."""

    def __init__(self, pool: Pool, child: Child, uses: int) -> None:
        self._pool, self._child, self._uses = pool, child, uses
        self.call = child.call

    @property
    def alive(self) -> bool:
        return self._child.alive

    def close(self) -> None:
        self._pool.give_back(self._child, self._uses)


class Pool:
    """Stands for the class of children.

    Attributes:
        started: children so far.
        peak: most bytes that one was seen to hold.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Child, int]] = []
        self.started = self.peak = 0

    def __call__(self, memory_bytes: int | None = None) -> _Borrowed:
        if self._idle:
            child, uses = self._idle.pop()
        else:
            child, uses = Child(memory_bytes), 0
            self.started += 1
        return _Borrowed(self, child, uses + 1)

    def give_back(self, child: Child, uses: int) -> None:
        if child.alive:
            self.peak = max(self.peak, child.call(10.0, peak_memory) or 0)
        if child.alive and uses < USES and not self._idle:
            self._idle.append((child, uses))
        else:
            child.close()


class Attack:
    """Everything that is done with one input."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._path = folder / "odd.tflite"
        self._out = folder / "out"
        self._cells = folder / "cells"
        for label in COLOURS:
            (self._cells / label).mkdir(parents=True)
            for name in ("0.png", "1.png"):
                cv2.imwrite(str(self._cells / label / name), plain_image(label))
        self.answers: collections.Counter[str] = collections.Counter()

    def run(self, content: bytes, *, commands: bool) -> None:
        """Do it; whatever is raised is a finding."""
        if content[:2] != b"PK":
            examine(content)
        self._path.write_bytes(content)
        width = self._random.random()  # most must reach native code, where the danger is
        allowance = Allowance(
            operators=ALLOWED_OPERATORS if width < 0.2 else frozenset(),
            any_operator=width > 0.4,
            memory_bytes=MEMORY,
            load_seconds=SECONDS,
            inference_seconds=SECONDS,
        )
        kernels = self._random.choice(list(Kernels))
        self.answers[self._answer(self._open, allowance, kernels)] += 1
        self._answer(self._classify, allowance, kernels)
        if commands:
            self._commands()

    def _answer(self, function: Any, *arguments: Any) -> str:
        try:
            function(*arguments)
        except QLViTEdgeError as error:
            line = str(error)
            if "\n" in line or len(line) > 2000:
                raise AssertionError(f"not one short line: {line[:200]!r}") from None
            for word in ("crashed", "no answer", "memory", "refuses", "operator"):
                if word in line:
                    return word
            return "refused otherwise"
        return "runs"

    def _open(self, allowance: Allowance, kernels: Kernels) -> None:
        with open_isolated(self._path, kernels=kernels, allowance=allowance) as model:
            shape, dtype = model.input.shape, model.input.dtype
            values = self._noise.integers(0, 255, shape).astype(dtype)
            model.invoke_all(values)
            str(model.arithmetic)

    def _classify(self, allowance: Allowance, kernels: Kernels) -> None:
        with Classifier(self._path, kernels=kernels, allowance=allowance) as classifier:
            classifier.classify(self._noise.integers(0, 256, (9, 12, 3), dtype=np.uint8))
            classifier.golden_pairs()

    def _commands(self) -> None:
        limits = ("--model-memory", "600", "--model-seconds", SECONDS)
        path, out = str(self._path), str(self._out)
        for arguments in (
            ("inspect", path, "--json"),
            ("run", path, "--camera", FIELDS, "--out", f"{out}.sqlite", "--frames", 1, *limits),
            ("benchmark", path, "--rounds", 1, "--warmup", 0, *limits),
            ("validate", path, "--data", self._cells, "--out", out),
        ):
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                    run_command_line([str(argument) for argument in arguments])
            except SystemExit as ended:
                if ended.code not in (0, 1, 2) or "Traceback" in said.getvalue():
                    raise AssertionError(
                        f"{arguments[0]}: {ended.code}, {said.getvalue()}"
                    ) from None


def main() -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", type=int, default=50)
    parser.add_argument("--megabytes", type=float, default=400.0)
    options = parser.parse_args()
    models, pool = NativeModels(options.seed), Pool()
    isolation.Child = pool  # type: ignore[assignment,misc]
    failures, slowest, began = 0, 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        attack = Attack(options.seed, Path(folder))
        for number in range(options.inputs):
            content, commands = models.next(), number % options.commands == options.commands - 1
            started, finding = time.perf_counter(), ""
            try:
                attack.run(content, commands=commands)
            except KeyboardInterrupt:
                break
            except BaseException:
                finding = traceback.format_exc().strip()
            seconds = time.perf_counter() - started
            slowest = max(slowest, seconds)
            if seconds > SLACK + (20 if commands else 8) * SECONDS:
                finding = f"{seconds:.0f} s"
            if peak_megabytes() > options.megabytes:
                finding = f"{peak_megabytes():.0f} MB held"
            if pool.peak > MEMORY + (64 << 20):
                finding = f"{pool.peak / 1e6:.0f} MB held by a child"
            if finding:
                failures += 1
                print(f"input {number}: {finding}\n  kept as {keep(content)}", flush=True)
                if failures == 10:
                    print("stopped after 10 failures")
                    break
    answers = ", ".join(f"{count} {what}" for what, count in attack.answers.most_common())
    print(
        f"{number + 1} inputs from seed {options.seed}: {answers}; {failures} failures\n"
        f"{time.perf_counter() - began:.0f} s in all, {slowest:.1f} s the slowest; "
        f"{pool.started} children, at most {pool.peak / 1e6:.0f} MB held by one and "
        f"{peak_megabytes():.0f} MB here"
    )
    return int(failures > 0)


if __name__ == "__main__":
    os.environ.setdefault("QLVIT_EDGE_MODEL_SECONDS", str(SECONDS))
    sys.exit(main())
