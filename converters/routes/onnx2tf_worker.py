"""Run by the onnx2tf environment's Python, never imported: ONNX → SavedModel → .tflite files.

    python onnx2tf_worker.py network.onnx calibration.npy [FORMAT...]

in a working folder of its own. It leaves one file a format and `result.json`. The two steps
are taken apart on purpose: told to quantise, onnx2tf 1.29 pads max-pools with zeros and feeds
its own layout check the calibration images, after which a transposition is lost; the
float32 file is then silently wrong.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

FORMATS = ("float32", "float16", "dynamic-range", "full-integer")


def main(network: str, calibration: str, *formats: str) -> None:
    """Convert; a format that TensorFlow cannot make gets its error in `result.json`."""
    import numpy as np
    import onnx2tf
    import tensorflow as tf

    began = time.monotonic()
    onnx2tf.convert(
        input_onnx_file_path=network,
        output_folder_path="saved",
        output_signaturedefs=True,
        # int8 products whose right operand has a zero point other than 0 are computed wrongly
        # by XNNPACK of ai-edge-litert 2.1: let fully connected layers take their place.
        enable_batchmatmul_unfold=True,
        # TFLite has no operator for it: GELU's error function as the operators that there are.
        replace_to_pseudo_operators=["erf"],
        non_verbose=True,
    )
    shared = time.monotonic() - began
    images = np.load(calibration, allow_pickle=False)

    def representative() -> Iterator[list[Any]]:
        for image in images:
            yield [image[np.newaxis]]

    results: dict[str, dict[str, object]] = {}
    for name in formats or FORMATS:
        began = time.monotonic()
        converter = tf.lite.TFLiteConverter.from_saved_model("saved")
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if name == "full-integer":
            converter.representative_dataset = representative
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
        try:
            Path(f"{name}.tflite").write_bytes(converter.convert())
            error = None
        except Exception as failure:  # TensorFlow raises whatever its parts raise
            error = (str(failure).strip().splitlines() or [type(failure).__name__])[0][:300]
        results[name] = {"seconds": shared + time.monotonic() - began, "error": error}
    versions = {name: version(name) for name in ("onnx2tf", "tensorflow")}
    Path("result.json").write_text(
        json.dumps({"formats": results, "versions": versions}), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
