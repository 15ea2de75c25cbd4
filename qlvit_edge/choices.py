"""What a user can choose by a word: listed once, for help texts and for the library.

The first of each is the default where no other is named. The network family's own choices are in
`qlvit_edge.model.family`.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

RuntimeName = Literal["litert", "tflite-runtime"]
RUNTIMES: Final[tuple[RuntimeName, ...]] = get_args(RuntimeName)
"""What executes a `.tflite` file."""

KernelsName = Literal["auto", "builtin", "reference"]
KERNELS: Final[tuple[KernelsName, ...]] = get_args(KernelsName)
"""Implementation of the operators."""

IntegerSoftmax = Literal["fast", "exact"]
INTEGER_SOFTMAXES: Final[tuple[IntegerSoftmax, ...]] = get_args(IntegerSoftmax)
"""Form of the softmax in an integer graph."""

ObserverName = Literal["minmax", "percentile", "mse", "entropy", "moving"]
OBSERVERS: Final[tuple[ObserverName, ...]] = get_args(ObserverName)
"""Whose range of a tensor is used."""
DEFAULT_OBSERVER: Final[ObserverName] = "mse"
"""Measured: `docs/calibration.md`."""

RouteName = Literal["native", "onnx", "onnx2tf"]
ROUTES: Final[tuple[RouteName, ...]] = get_args(RouteName)
"""Ways from a trained network to a file."""

TargetName = Literal["cpu", "edgetpu"]
TARGETS: Final[tuple[TargetName, ...]] = get_args(TargetName)
"""What a converted file is for."""

SizeName = Literal["nano", "tiny", "paper"]
SIZE_NAMES: Final[tuple[SizeName, ...]] = get_args(SizeName)
"""Sizes of the network; what they are is in `qlvit_edge.model.configs`."""

DeviceName = Literal["auto", "cpu", "cuda"]
DEVICES: Final[tuple[DeviceName, ...]] = get_args(DeviceName)
"""What trains a network."""

Balance = Literal["none", "loss", "sampling", "domains"]
BALANCES: Final[tuple[Balance, ...]] = get_args(Balance)

"""How training makes up for classes, and microscopes, of unequal size."""

Augment = Literal["standard", "microscopes", "paper"]
AUGMENTS: Final[tuple[Augment, ...]] = get_args(Augment)
"""How training varies its images: for their own microscope, for others too, as the paper does."""

Cache = Literal["auto", "memory", "disk"]
CACHES: Final[tuple[Cache, ...]] = get_args(Cache)
"""Where decoded training images are kept."""

Precision = Literal["float32", "bfloat16"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
"""In which numbers training computes the network; weights are float32 with either."""

AugmentPart = Literal[
    "look",
    "crop",
    "border",
    "aspect",
    "style",
    "stain",
    "light",
    "gamma",
    "gradient",
    "contrast",
    "saturation",
    "hue",
    "defocus",
    "resolution",
    "sharpening",
    "noise",
    "jpeg",
    "grey",
]
AUGMENT_PARTS: Final[tuple[AugmentPart, ...]] = get_args(AugmentPart)
"""What `microscopes` varies; what each does is in `qlvit_edge.data.looks`."""

Verdict = Literal["accepted", "uncertain", "unknown cell", "foreign image", "abstained"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""What is made of one answer: `accepted`, or why it is not.

`uncertain`: two classes are about as likely. `unknown cell`: unlike every cell that the model was
made with, in an image like theirs. `foreign image`: the image itself is unlike theirs.
`abstained`: the image is not fit to be judged (focus, light, colour).
"""
