"""A model file as a classifier of cell images.

Labels, input size and the threshold's meaning come from the model file itself; the file's
output is int8 logits, so probabilities are worked out here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.choices import Verdict
from qlvit_edge.errors import DataError, DeviceError, ModelFileError, restore
from qlvit_edge.files import sha256
from qlvit_edge.guard.judge import Judge, Judgement, verdict_on
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.arithmetic import Arithmetic
from qlvit_edge.inference.chain import open_model
from qlvit_edge.inference.closing import Closing
from qlvit_edge.inference.delegates import Delegate, delegate_of
from qlvit_edge.inference.golden import GoldenReport, compare_golden
from qlvit_edge.inference.loaded import LoadedModel
from qlvit_edge.inference.native import Kernels, Runtime
from qlvit_edge.inference.pictures import rgb8, several
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.inference.trial import require_tried
from qlvit_edge.modelfile.chain import metadata_in
from qlvit_edge.modelfile.ends import require_shapes
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import preprocess, recipe

Picture = str | os.PathLike[str] | bytes | NDArray[Any] | Sequence[Any] | object
"""What `Classifier.classify` takes; see there."""

_INPUT_TYPES = (np.uint8, np.int8, np.int16, np.float32)
_OUTPUT_TYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32)
_INT8 = np.dtype(np.int8)

ACCEPT_AT = 0.8
"""Smallest probability of an accepted answer, of a file that has no guard of its own."""


@dataclass(frozen=True)
class Classification:
    """What a model says about one cell.

    Attributes:
        label: the most probable class.
        probability: its probability.
        probabilities: probability of every class, in the model's order; they add up to 1.
        verdict: ``"accepted"``, or why not; see `qlvit_edge.choices.VERDICTS`. A file without
            a guard knows only ``"uncertain"`` besides: where the probability does not reach the
            classifier's threshold. It accepts cells of kinds that it was never shown.
        reason: why the answer is not accepted, in words; None where it is.
        judgement: what the file's guard found; None of a file without one.
        features: the int8 features (width,) that the answer was made of; None of a file that
            does not give them (before format 3).
        logits: the model's output (classes,) as it gives it, int8 in files of ours.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    verdict: Verdict
    reason: str | None = None
    judgement: Judgement | None = field(default=None, repr=False, compare=False)
    features: NDArray[np.int8] | None = field(default=None, repr=False, compare=False)
    logits: NDArray[Any] | None = field(default=None, repr=False, compare=False)


class Classifier(Closing):
    """Classifies images of single cells with a model file. For research use only.

    Safe to use from several threads; they take turns. A copy, also one sent to another process,
    opens the file again; a process that was forked off while no other thread was classifying
    starts a process of its own for the model. A context manager that ends the model's process.

    Attributes:
        metadata: what the model file says about itself.
        sha256: hash of the model file.
        kernels_used: which kernels really run, in words.
        xnnpack_missing: XNNPACK was to be expected but took no operator.
        accept_at: smallest probability of an accepted answer.
        judges: whether the file has a guard that judges its answers.
        isolated: whether the model runs in a process of its own.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        kernels: Kernels | str = Kernels.AUTO,
        runtime: Runtime = "litert",
        threads: int = 1,
        accept_at: float | None = None,
        delegate: str | Delegate | None = None,
        isolated: bool = True,
        allowance: Allowance | None = None,
    ) -> None:
        """Load a model file.

        Args:
            model: path of a .tflite file or a chain made by `qlvit-edge convert`, or the
                name of a bundled model such as ``"blood-nano"``.
            kernels: ``"auto"``, ``"builtin"`` or ``"reference"``.
            runtime: ``"litert"`` or ``"tflite-runtime"``.
            threads: number of threads.
            accept_at: smallest probability of an accepted answer, 0 to 1; None: that of the
                file's guard, or `ACCEPT_AT` where it has none. A guard's other limits stay.
            delegate: library that runs a chain's compiled segments on an Edge TPU, such as
                ``"libedgetpu.so.1"``; with options see `delegate_of`. Never tried on one.
            isolated: run the model in a process of its own, which alone ends if the model
                crashes or takes too much. If False, it runs in this process, which is faster by
                what `docs/limits.md` says, once a child process has tried the file (see
                `require_tried`); a file that crashes on certain pixels only then ends the program.
            allowance: what the file may ask for: operators, memory, time; None: the default.

        Raises:
            ModelFileError: the file is missing, damaged, has no metadata, needs another
                preprocessing, asks for more than it may, or the runtime crashes on it.
            AcceleratorError: the delegate refuses its device or the model.
            DeviceError: the runtime or the delegate's library is not installed.
            ValueError: a setting is out of range.
        """
        from qlvit_edge.bundled import resolve_model

        if accept_at is not None and not 0 <= accept_at <= 1:
            raise ValueError(f"accept_at must be between 0 and 1, not {accept_at}")
        path = resolve_model(model)
        content = read_bytes(path)
        metadata = metadata_in(content, subject=path)
        if metadata is None:
            raise ModelFileError(
                path,
                "it does not say which classes it knows",
                "give a model made by `qlvit-edge convert`",
            )
        _require_preprocessing(path, metadata)
        self.metadata = metadata
        self.sha256 = sha256(content)
        guard = metadata.guard
        self._judge = None if guard is None else Judge(guard, accept_at, subject=path)
        self.judges = self._judge is not None
        if accept_at is None:
            accept_at = ACCEPT_AT if metadata.guard is None else metadata.guard.probability
        self.accept_at = accept_at
        self.isolated = isolated
        if isinstance(delegate, str):
            delegate = delegate_of(delegate)
        settings: dict[str, Any] = {
            "kernels": Kernels(kernels),
            "runtime": runtime,
            "threads": threads,
            "delegate": delegate,
            "allowance": allowance,
        }
        self._again = (path, self.sha256, {**settings, "isolated": isolated})
        settings["subject"] = path
        if not isolated:
            require_tried(content, **settings)
        self._interpreter = open_model(content, isolated=isolated, **settings)
        _require_classes(path, metadata, self._interpreter)
        self.kernels_used = self._interpreter.kernels_used
        self.xnnpack_missing = self._interpreter.xnnpack_missing

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy by opening the file again."""
        path, digest, settings = self._again
        return _reopen, (path, digest, {**settings, "accept_at": self.accept_at})

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.metadata.labels)

    @property
    def arithmetic(self) -> Arithmetic:
        """Which arithmetic the kernels that run compute, and whether that is proved here.

        ``str(classifier.arithmetic)`` is a sentence such as ``"XNNPACK arithmetic, proved for
        ai-edge-litert 2.3.0 on x86_64"``.
        """
        return self._interpreter.arithmetic

    def golden_pairs(self) -> GoldenReport:
        """Run the golden pairs of the file on the kernels that run, and say how they came out.

        Takes one inference per pair.

        Raises:
            ModelFileError: a pair's image is damaged.
            DeviceError: the runtime failed.
        """
        return compare_golden(self.metadata, self._interpreter)

    def golden_pairs_hold(self) -> bool | None:
        """Tell whether every golden pair is equal to the byte; see `golden_pairs`.

        None: nothing is claimed of the kernels that run, or the file holds no pairs for them.
        """
        return self.golden_pairs().passed

    def classify(self, image: Picture) -> Classification:
        """Classify the image of one cell, of any size.

        Args:
            image: an image file, by its path or as bytes; an image of Pillow; or an array or
                nested lists: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB and alpha, uint8 or
                uint16. All are turned into 8-bit RGB: grey repeated, alpha laid over white,
                16 bit divided by 257. A model of one channel then sees the luminance.

        Raises:
            DataError: it is none of these, or cannot be decoded.
            InferenceLostError: the model's process crashed, took too much or did not answer;
                `restart` starts another.
            DeviceError: the runtime failed, or the model gives no finite number.
        """
        return self.infer(self.prepare(image))

    def classify_many(self, images: Iterable[Picture]) -> list[Classification]:
        """Classify images one after another; returns one answer per image, in their order.

        Args:
            images: such as `classify` takes; a folder's files are ``sorted(folder.glob("*"))``.
                An array is (N, H, W, channels), or (N, H, W) of grey images.

        Raises:
            DataError: see `classify`, naming the image by its number, from 0; or it is a single
                image.
            DeviceError: see `classify`.
        """
        return [self.infer(self._prepared(n, image)) for n, image in enumerate(several(images))]

    def prepare(self, image: Picture) -> NDArray[np.uint8]:
        """Return what the network is fed for an image: (h, w, channels) uint8.

        Raises:
            DataError: see `classify`.
        """
        return preprocess(rgb8(image), self.metadata.input_size, self.metadata.channels)

    def infer(self, pixels: NDArray[np.uint8]) -> Classification:
        """Classify an image that `prepare` made.

        Raises:
            DataError: it was not made by this classifier's `prepare`.
            DeviceError: see `classify`.
        """
        expected = (*self.metadata.input_size, self.metadata.channels)
        if getattr(pixels, "shape", None) != expected or pixels.dtype != np.uint8:
            raise DataError("image", f"not uint8 of shape {expected}", "give it to `classify`")
        outputs = self._interpreter.invoke_all(as_input(pixels, self._interpreter.input))
        logits = self._interpreter.output.dequantise(outputs[0])[0]
        if not np.isfinite(logits).all():
            path, _, _ = self._again
            raise DeviceError(path, "it answers with no finite number", "convert the model again")
        judgement = None
        if self._judge is not None:
            judgement = self._judge.judge_input(outputs[0], outputs[1], pixels)
        chances = softmax(logits) if judgement is None else judgement.chances
        best = int(logits.argmax())
        probability = float(chances[best])
        if judgement is None:
            verdict, reason = verdict_on(probability, self.accept_at)
        else:
            verdict, reason = judgement.verdict, judgement.reason
        return Classification(
            label=self.labels[best],
            probability=probability,
            probabilities=dict(zip(self.labels, map(float, chances), strict=True)),
            verdict=verdict,
            reason=reason or None,
            judgement=judgement,
            features=outputs[1].reshape(-1) if len(outputs) > 1 else None,
            logits=outputs[0].reshape(-1),
        )

    def restart(self) -> None:
        """End the model's process and start another, after `InferenceLostError` say.

        Raises:
            ModelFileError: the runtime crashes on the model.
            DeviceError: the runtime does not start.
        """
        self._interpreter.restart()

    def close(self) -> None:
        """End the model's process; allowed any number of times."""
        self._interpreter.close()

    def _prepared(self, number: int, image: Picture) -> NDArray[np.uint8]:
        try:
            return self.prepare(image)
        except DataError as error:
            raise restore(DataError, f"image {number}: {error}") from error


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of real logits (classes,) as float64."""
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float64)


def _require_preprocessing(path: Path, metadata: ModelMetadata) -> None:
    if metadata.preprocessing != recipe(metadata.channels):
        raise ModelFileError(
            path,
            f"it wants preprocessing {metadata.preprocessing!r}, this version has "
            f"{recipe(metadata.channels)!r}",
            "convert the model again or use the version that made it",
        )


def _require_classes(path: Path, metadata: ModelMetadata, model: LoadedModel) -> None:
    """Refuse a file whose input or outputs the runtime has otherwise than its metadata say."""
    try:
        require_shapes(
            [tensor.shape for tensor in (model.input, *model.outputs)],
            image=(*metadata.input_size, metadata.channels),
            classes=len(metadata.labels),
            features=metadata.features,
            subject=path,
        )
        types = [tensor.dtype for tensor in (model.input, *model.outputs)]
        judged = _OUTPUT_TYPES if metadata.guard is None else (np.int8,)
        if types[0] in _INPUT_TYPES and types[1] in judged and set(types[2:]) <= {_INT8}:
            return
        finding = f"its input and outputs are {', '.join(map(str, types))}"
        raise ModelFileError(path, finding, "convert the model again")
    except ModelFileError:
        model.close()
        raise


def _reopen(path: Path, digest: str, settings: dict[str, Any]) -> Classifier:
    """Open a file again that is to be what it was."""
    classifier = Classifier(path, **settings)
    if classifier.sha256 != digest:
        classifier.close()
        raise ModelFileError(
            path, "it is not the file any more that it was", "make the classifier again"
        )
    return classifier
