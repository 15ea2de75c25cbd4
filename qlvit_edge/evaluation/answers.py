"""A model's answers to labelled images, each shown as it would be in use, and the verdict on it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import Verdict
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.evaluation.measured_model import Model
from qlvit_edge.fields.finder import CROP_MARGIN, crop, main_cell
from qlvit_edge.files import sha256
from qlvit_edge.guard.judge import Judge, Judgement, verdict_on
from qlvit_edge.guard.statement import Finding, RunStatement
from qlvit_edge.inference.chain import ChainInterpreter
from qlvit_edge.inference.classifier import ACCEPT_AT, softmax
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.preprocess import preprocess


class View(StrEnum):
    """What of an image the model is shown.

    Attributes:
        WHOLE: all of it.
        CROPS: the crop around the largest cell that the finder finds, as in `run`.
    """

    WHOLE = "whole image"
    CROPS = f"crop by the cell finder, margin {CROP_MARGIN}"

    @property
    def key(self) -> str:
        """Its name in report.json, as training's metrics.json names it."""
        return "whole_image" if self is View.WHOLE else "cell_crop"


@dataclass(frozen=True)
class Answer:
    """What the model answered for one image.

    Attributes:
        image: the image with its true label, an index into the report's classes.
        predicted: index of the most probable class, or None when no cell was found.
        probabilities: of every class; zeros when no cell was found.
        seconds: time of the inference, NaN without one.
        verdict: on the answer; None when no cell was found.
        reason: why it is not accepted, in words; None where it is.
        trust: how far within its limits it is, see `qlvit_edge.guard.judge.Judge.trust`; the
            probability where the file has no guard.
        judgement: what the file's guard found; None without one, or when no cell was found.
        input_sha256: hash of the network's input, (h, w, channels) uint8; empty without one.
        outputs: of the network, as they came out: logits, and features where it gives them.
    """

    image: LabelledImage
    predicted: int | None
    probabilities: tuple[float, ...]
    seconds: float
    verdict: Verdict | None = None
    trust: float = 0.0
    reason: str | None = None
    judgement: Judgement | None = None
    input_sha256: str = ""
    outputs: tuple[NDArray[Any], ...] = ()

    @property
    def probability(self) -> float:
        """Of the answer; 0 without one."""
        return max(self.probabilities)


@dataclass(frozen=True)
class Answers:
    """All answers in one view.

    Attributes:
        view: what was shown.
        known: of images of the model's classes.
        unknown: of images of classes that the model does not know, by class folder.
    """

    view: View
    known: list[Answer] = field(default_factory=list)
    unknown: dict[str, list[Answer]] = field(default_factory=dict)


class Asker:
    """Shows images to a model and judges its answers.

    Attributes:
        guarded: whether the file has a guard.
        accept_at: smallest probability of an accepted answer.
    """

    def __init__(
        self, model: Model, interpreter: Interpreter | ChainInterpreter, accept_at: float | None
    ) -> None:
        """Prepare to judge.

        Args:
            model: the file.
            interpreter: with it loaded.
            accept_at: smallest probability of an accepted answer; None: the guard's, or
                `ACCEPT_AT` without one.
        """
        guard = None if model.metadata is None else model.metadata.guard
        self._model, self._interpreter = model, interpreter
        self._judge = None if guard is None else Judge(guard, accept_at, subject=model.path)
        self.guarded = guard is not None
        if self._judge is not None:
            accept_at = self._judge.accept_at
        self.accept_at = ACCEPT_AT if accept_at is None else accept_at

    def statement(self, answers: Sequence[Answer]) -> Finding | None:
        """Return whether images are what the model was made for; None without a guard."""
        if self._judge is None:
            return None
        statement = RunStatement(self._judge.guard)
        for answer in answers:
            statement.add(answer.judgement)
        return statement.finding()

    def answer(
        self, image: LabelledImage, picture: NDArray[np.uint8] | None, classes: int
    ) -> Answer:
        """Classify what is shown of an image; None: no cell was found in it."""
        if picture is None:
            return Answer(image, None, (0.0,) * classes, math.nan)
        pixels = preprocess(picture, self._model.input_size, self._model.channels)
        values = as_input(pixels, self._interpreter.input)
        started = time.perf_counter()
        outputs = self._interpreter.invoke_all(values)
        seconds = time.perf_counter() - started
        judgement = None
        if self._judge is None:
            real = self._interpreter.output.dequantise(outputs[0])[0]
            chances = real if self._model.gives_probabilities else softmax(real)
            trust = float(chances.max())
            verdict, reason = verdict_on(trust, self.accept_at)
        else:
            judgement = self._judge.judge_input(outputs[0], outputs[1], pixels)
            chances, verdict, reason = judgement.chances, judgement.verdict, judgement.reason
            trust = self._judge.trust(judgement)
        return Answer(
            image=image,
            predicted=int(chances.argmax()),
            probabilities=tuple(map(float, chances)),
            seconds=seconds,
            verdict=verdict,
            trust=trust,
            reason=reason,
            judgement=judgement,
            input_sha256=sha256(np.ascontiguousarray(pixels).tobytes()),
            outputs=tuple(outputs),
        )


def model_picture(image: NDArray[np.uint8], view: View) -> NDArray[np.uint8] | None:
    """Return what is classified of a decoded image; None when no cell is found in it."""
    if view is View.WHOLE:
        return image
    cell = main_cell(image)
    return None if cell is None else crop(image, cell)
