"""Run by the TensorFlow environment's Python: a keras.applications network as a full-int8 file.

    python keras_int8.py MobileNetV2 SIDE CLASSES OUT.tflite

Random weights (`weights=None`): times do not depend on them. TensorFlow's own full-integer
conversion, uint8 in and int8 out, calibrated on random images. No scaling of pixels inside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IMAGES = 4


def main(name: str, side: str, classes: str, out: str) -> None:
    """Make the network, convert it, write the file."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    shape = (int(side), int(side), 3)
    options: dict[str, Any] = {} if name == "MobileNetV2" else {"include_preprocessing": False}
    tf.keras.utils.set_random_seed(0)
    network = getattr(tf.keras.applications, name)(
        input_shape=shape, weights=None, classes=int(classes), **options
    )
    generator = np.random.default_rng(0)

    def representative() -> Iterator[list[Any]]:
        for _ in range(IMAGES):
            yield [generator.uniform(-1, 1, (1, *shape)).astype(np.float32)]

    # A function of fixed shape (batch 1) with its variables as constants: left as variables
    # they stop the calibration of Keras 3 networks.
    call = tf.function(network, input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    frozen = convert_variables_to_constants_v2(call.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
