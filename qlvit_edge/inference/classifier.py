"""A model file as a classifier of cell images.

Labels, input size and the threshold's meaning come from the model file itself; the file's
output is int8 logits, so probabilities are worked out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.inference.arithmetic import Arithmetic
from qlvit_edge.inference.chain import open_model
from qlvit_edge.inference.golden import GoldenReport, compare_golden
from qlvit_edge.inference.interpreter import Kernels, Runtime
from qlvit_edge.inference.tensor_info import as_input
from qlvit_edge.modelfile.chain import metadata_in
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import decode, preprocess, recipe

Verdict = Literal["accepted", "uncertain"]

ACCEPT_AT = 0.8
"""A label is accepted when its probability is at least this."""


@dataclass(frozen=True)
class Classification:
    """What a model says about one cell.

    Attributes:
        label: the most probable class.
        probability: its probability.
        probabilities: probability of every class, in the model's order; they add up to 1.
        verdict: ``"accepted"`` where the probability reaches the classifier's threshold,
            else ``"uncertain"``. A cell of a kind that the model was never shown can be
            accepted all the same: see the model's card.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    verdict: Verdict


class Classifier:
    """Classifies images of single cells with a model file. For research use only.

    Attributes:
        metadata: what the model file says about itself.
        sha256: hash of the model file.
        kernels_used: which kernels really run, in words.
        xnnpack_missing: XNNPACK was to be expected but took no operator.
        accept_at: the probability from which a label is accepted.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        kernels: Kernels | str = Kernels.AUTO,
        runtime: Runtime = "litert",
        threads: int = 1,
        accept_at: float = ACCEPT_AT,
        delegate: str | None = None,
    ) -> None:
        """Load a model file.

        Args:
            model: path of a .tflite file or a chain made by `qlvit-edge convert`, or the
                name of a bundled model such as ``"wbc-nano"``.
            kernels: ``"auto"``, ``"builtin"`` or ``"reference"``.
            runtime: ``"litert"`` or ``"tflite-runtime"``.
            threads: number of threads.
            accept_at: probability from which a label is accepted, 0 to 1.
            delegate: library that runs a chain's segments on an Edge TPU, such as
                ``"libedgetpu.so.1"``. Never tried on hardware.

        Raises:
            ModelFileError: the file is missing, damaged, has no metadata or needs another
                preprocessing.
            DeviceError: the runtime is not installed, or the delegate does not start.
            ValueError: a setting is out of range.
        """
        from qlvit_edge.bundled import resolve_model

        if not 0 <= accept_at <= 1:
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
        self.accept_at = accept_at
        self._interpreter = open_model(
            content,
            kernels=Kernels(kernels),
            runtime=runtime,
            threads=threads,
            delegate=delegate,
            subject=path,
        )
        self.kernels_used = self._interpreter.kernels_used
        self.xnnpack_missing = self._interpreter.xnnpack_missing

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

    def classify(self, image: NDArray[np.uint8] | Path | str) -> Classification:
        """Classify the image of one cell.

        Args:
            image: (H, W, 3) uint8 RGB of any size, or an image file. Grey, alpha and 16-bit
                files are turned into 8-bit RGB without a word: grey repeated, alpha laid
                over white, 16 bit divided by 257. A model of one channel then sees its
                luminance.

        Raises:
            DataError: the file is no image that can be decoded.
            ValueError: the array is of another shape or type.
        """
        pixels = decode(Path(image)) if isinstance(image, str | Path) else image
        return self.infer(self.prepare(pixels))

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the network is fed for an (H, W, 3) RGB image: (h, w, channels) uint8."""
        return preprocess(image, self.metadata.input_size, self.metadata.channels)

    def infer(self, pixels: NDArray[np.uint8]) -> Classification:
        """Classify an image that `prepare` made."""
        output = self._interpreter.invoke(as_input(pixels, self._interpreter.input))
        chances = softmax(self._interpreter.output.dequantise(output)[0])
        best = int(chances.argmax())
        probability = float(chances[best])
        return Classification(
            label=self.labels[best],
            probability=probability,
            probabilities=dict(zip(self.labels, map(float, chances), strict=True)),
            verdict="accepted" if probability >= self.accept_at else "uncertain",
        )


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
