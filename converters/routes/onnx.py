"""The route to ONNX: export, check, compare with PyTorch in ONNX Runtime.

The file takes what the network takes: (1, channels, H, W) float32, values 0…255, and gives
logits (1, classes). Opset 17. Labels and what else a user of the file must know are its
`metadata_props`.
"""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.onnx import register_custom_op_symbolic, unregister_custom_op_symbolic

from qlvit_edge.converters.routes.exportable import exportable
from qlvit_edge.errors import ConversionError
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.preprocess import recipe
from qlvit_edge.training.checkpoint import Checkpoint

OPSET = 17
INPUT, OUTPUT = "image", "logits"
_SYMBOLIC = "aten::exp2"


def export_onnx(
    checkpoint: Checkpoint, *, unpadded_pooling: bool = False, with_metadata: bool = True
) -> bytes:
    """Return the network as the bytes of an ONNX file that the ONNX checker accepts.

    Args:
        checkpoint: the trained network.
        unpadded_pooling: see `exportable`.
        with_metadata: put labels, preprocessing and origin into the file.

    Raises:
        ConversionError: an operator of the network has no ONNX form, or the checker finds
            something.
    """
    model = onnx.load_from_string(
        _traced(exportable(checkpoint.network, unpadded_pooling=unpadded_pooling))
    )
    _drop_straight_through(model.graph)
    if with_metadata:
        onnx.helper.set_model_props(model, _properties(checkpoint))
    model.producer_name = "qlvit-edge"
    model.producer_version = version("qlvit-edge")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(
            "ONNX file", f"the checker refuses it ({_first_line(error)})", "report this as a bug"
        ) from error
    content: bytes = model.SerializeToString(deterministic=True)
    return content


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
                "dynamic int8", f"ONNX Runtime fails ({_first_line(error)})", "use the float file"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        return target.read_bytes()


def _traced(network: QLViT) -> bytes:
    config = network.config
    image = torch.zeros(1, config.channels, *config.input_size)
    stream = io.BytesIO()
    register_custom_op_symbolic(_SYMBOLIC, _exp2, OPSET)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter warns of itself and of tracing
            torch.onnx.export(
                network,
                (image,),
                stream,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConversionError(
            "network",
            f"cannot be exported to ONNX ({_first_line(error)})",
            "use the native route",
        ) from error
    finally:
        unregister_custom_op_symbolic(_SYMBOLIC, OPSET)
    return stream.getvalue()


def _exp2(g: Any, x: Any) -> Any:
    """ONNX has no 2^x; this is how the exporter is told to write it."""
    return g.op("Exp", g.op("Mul", x, g.op("Constant", value_t=torch.tensor(math.log(2)))))


def _drop_straight_through(graph: onnx.GraphProto) -> None:
    """Replace ``x + (rounded - x)``, which carries a gradient, by ``rounded``."""
    makers = {name: node for node in graph.node for name in node.output}
    renamed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for x, other in (tuple(node.input), tuple(node.input)[::-1]):
            difference = makers.get(other)
            if difference is not None and difference.op_type == "Sub" and difference.input[1] == x:
                renamed[node.output[0]] = difference.input[0]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def _properties(checkpoint: Checkpoint) -> dict[str, str]:
    run = checkpoint.run
    return {
        "labels": json.dumps(run.classes, ensure_ascii=False),
        "input": f"(1, {run.network.channels}, H, W) float32, "
        f"{'RGB' if run.network.channels == 3 else 'grey'} values 0 to 255",
        "preprocessing": recipe(run.network.channels),
        "output": "logits, one a label",
        "name": checkpoint.folder.resolve().name,
        "variant": run.network.variant,
        "size_name": run.network.size,
        "checkpoint_sha256": checkpoint.sha256,
        "split_fingerprint": run.split_fingerprint,
        "training_data": Path(run.data).name,
        "intended_use": str(ModelMetadata.model_fields["intended_use"].default),
        "created_by": f"qlvit-edge {version('qlvit-edge')}",
    }


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
