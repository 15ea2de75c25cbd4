"""Run by the TensorFlow environment's Python: a keras.applications network as a full-int8 file.

    python keras_int8.py MobileNetV2 SIDE CLASSES OUT.tflite [float32]

Random weights (`weights=None`): times do not depend on them. TensorFlow's own full-integer
conversion, uint8 in and int8 out, calibrated on random images. No scaling of pixels inside.
With `float32` nothing is quantised.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IMAGES = 4


def main(name: str, side: str, classes: str, out: str, form: str = "int8") -> None:
    """Make the network, convert it, write the file."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    shape = (int(side), int(side), 3)
    maker = getattr(tf.keras.applications, name)
    options: dict[str, Any] = {}
    if "include_preprocessing" in inspect.signature(maker).parameters:
        options["include_preprocessing"] = False
    tf.keras.utils.set_random_seed(0)
    network = maker(input_shape=shape, weights=None, classes=int(classes), **options)
    generator = np.random.default_rng(0)

    def representative() -> Iterator[list[Any]]:
        for _ in range(IMAGES):
            yield [generator.uniform(-1, 1, (1, *shape)).astype(np.float32)]

    # A function of fixed shape (batch 1) with its variables as constants: left as variables
    # they stop the calibration of Keras 3 networks.
    call = tf.function(network, input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    frozen = convert_variables_to_constants_v2(call.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if form == "int8":
        quantise(converter, representative)
    Path(out).write_bytes(converter.convert())


def quantise(converter: Any, representative: Callable[[], Iterator[list[Any]]]) -> None:
    """Ask for integers only, from the input to the output."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8


if __name__ == "__main__":
    main(*sys.argv[1:])
