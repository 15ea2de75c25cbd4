"""ONNX Runtime on the CPU: running our ONNX files, and its own dynamic quantisation."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from qlvit_edge.errors import ConversionError

INPUT, OUTPUT = "image", "logits"


def onnx_logits(
    content: bytes, views: NDArray[np.uint8], advance: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """Run an ONNX file on images (N, H, W, channels) uint8; returns logits (N, classes)."""
    session = open_session(content)
    rows = []
    for view in views:
        rows.append(session.run(None, {INPUT: onnx_input(view)})[0][0])
        advance()
    return np.asarray(rows, np.float64)


def onnx_input(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn one image (H, W, channels) uint8 into the (1, channels, H, W) float32 input."""
    return np.ascontiguousarray(view.transpose(2, 0, 1)[None], np.float32)


def open_session(content: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load an ONNX file into ONNX Runtime on the CPU, without its chatter."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def dynamic_int8(content: bytes) -> bytes:
    """Quantise the weights of an ONNX file to int8, activations at run time (ONNX Runtime).

    Raises:
        ConversionError: ONNX Runtime's tool fails.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(content)
        logging.disable(logging.WARNING)  # a page on shapes it does not quantise
        try:
            quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        except Exception as error:
            raise ConversionError(
                "dynamic int8", f"ONNX Runtime fails ({type(error).__name__})", "use the float file"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        return target.read_bytes()
