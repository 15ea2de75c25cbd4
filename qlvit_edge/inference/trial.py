"""Trying a file in a child process before native code gets it in this one.

The child runs it on a few images under the limits of its allowance. What passed is remembered
by hash in the memory of this process alone: nobody else can write there.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import InferenceLostError, ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.tensor_info import TensorInfo

NOISE_IMAGES = 4
"""Besides one of zeros and one of the largest values."""

_passed: set[tuple[object, ...]] = set()
_lock = threading.Lock()


def require_tried(content: bytes, *, subject: object, **settings: Any) -> None:
    """Run a file in a child process, unless this process has seen that it runs.

    Args:
        content: a .tflite file or a chain.
        subject: what errors call it.
        settings: as of `qlvit_edge.inference.chain.open_isolated`.

    Raises:
        ModelFileError: it is damaged, asks for more than it may, crashes, or does not end.
        DeviceError: the runtime or the delegate does not start.
    """
    key = (sha256(content), *sorted((name, value) for name, value in settings.items()))
    with _lock:
        if key in _passed:
            return
    with open_isolated(content, subject=subject, **settings) as model:
        try:
            for values in _images(model.input):
                model.invoke(values)
        except InferenceLostError as error:
            raise ModelFileError(
                subject, f"it does not run on every image ({error})", "give another model"
            ) from None
    with _lock:
        _passed.add(key)


def _images(tensor: TensorInfo) -> list[NDArray[Any]]:
    """The largest values, and noise of a fixed seed."""
    generator = np.random.default_rng(0)
    if tensor.dtype.kind not in "iu":
        images = [np.full(tensor.shape, 255.0)]
        images += [255 * generator.random(tensor.shape) for _ in range(NOISE_IMAGES)]
        return [image.astype(tensor.dtype) for image in images]
    low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
    return [
        np.full(tensor.shape, high, tensor.dtype),
        *(
            generator.integers(low, high, tensor.shape, tensor.dtype, endpoint=True)
            for _ in range(NOISE_IMAGES)
        ),
    ]
