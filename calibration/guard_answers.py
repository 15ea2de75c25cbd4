"""What the integer network says of labelled images: the material a guard is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.calibration.file import Calibration
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.rewrites.temperature import divide_logits
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.augment import Image
from qlvit_edge.data.labelled import LabelledImage
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.fields.quality import image_measures
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.modelfile.guard import View
from qlvit_edge.preprocess import decode
from qlvit_edge.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Answer:
    """What the integer network says of one view of one image.

    Attributes:
        logits: (classes,) int8.
        features: (width,) int8.
        measures: of the view, by name.
        label: index of the true class; `NO_CLASS` where nobody said.
        domain: microscope, stain, camera; "" where nobody said.
        source: photograph, slide or patient; the image's name where nobody said.
        view: how the image was shown.
    """

    logits: NDArray[np.int8]
    features: NDArray[np.int8]
    measures: dict[str, int] = field(repr=False)
    label: int
    domain: str
    source: str
    view: View

    @property
    def right(self) -> bool:
        """Whether the largest logit is that of the true class."""
        return int(self.logits.argmax()) == self.label


class IntegerNetwork:
    """A checkpoint's integer network, as its file computes on the default kernels.

    Attributes:
        logit_scale: real value of one step of a logit.
        feature_scale: the same of a feature.
        feature_zero_point: the integer that stands for the feature 0.
        width: length of the feature vector.
    """

    def __init__(self, checkpoint: Checkpoint, calibration: Calibration) -> None:
        """Lower and load it.

        Raises:
            ConversionError: the network cannot be lowered.
        """
        network = checkpoint.run.network
        graph = one_arithmetic(integer_graph(checkpoint, calibration, "fast")).graph
        self._size, self._channels = network.input_size, network.channels
        self._graph, self._interpreter = graph, Interpreter(write_tflite(graph))
        logits, features = self._interpreter.outputs
        self.logit_scale = logits.scale
        self.feature_scale, self.feature_zero_point = features.scale, features.zero_point
        self.width = features.shape[-1]

    def temperature_near(self, temperature: float) -> float:
        """Return the temperature by which `convert` will divide where this one is asked for."""
        divided = divide_logits(self._graph, temperature)
        return self.logit_scale / divided.outputs[0].scale

    def answers(self, images: Sequence[LabelledImage], advance: Callable[[], None]) -> list[Answer]:
        """Show every image whole and as the crop that `run` would make of it.

        Args:
            images: their labels may be `NO_CLASS`.
            advance: called once per image, for a progress bar.

        Raises:
            DataError: an image does not decode.
        """
        found: list[Answer] = []
        for entry in images:
            image = decode(entry.path)
            source = entry.source or entry.relative
            for view, shown in self._views(image):
                found.append(self.answer(shown, entry.label, entry.domain, source, view))
            advance()
        return found

    def label_of(self, pixels: Image) -> int:
        """Return the index of the class that is answered for one input (h, w, channels)."""
        return int(self._interpreter.invoke(pixels).argmax())

    def answer(self, pixels: Image, label: int, domain: str, source: str, view: View) -> Answer:
        """Run one input (h, w, channels) uint8."""
        logits, features = self._interpreter.invoke_all(pixels)
        return Answer(
            logits=logits.reshape(-1).copy(),
            features=features.reshape(-1).copy(),
            measures=image_measures(pixels),
            label=label,
            domain=domain,
            source=source,
            view=view,
        )

    def _views(self, image: Image) -> list[tuple[View, Image]]:
        return [
            ("whole image", whole_view(image, self._size, self._channels)),
            ("crop", cell_view(image, self._size, self._channels)),
        ]
