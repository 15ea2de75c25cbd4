"""The route to ONNX: export and check; `ort` runs the file.

The file takes what the network takes: (1, channels, H, W) float32, values 0…255, and gives
logits (1, classes). Opset 17. Labels and what else a user of the file must know are its
`metadata_props`.
"""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from qlvit_edge.converters.routes.export_modules import export_copy
from qlvit_edge.converters.routes.ort import INPUT, OUTPUT
from qlvit_edge.errors import ConversionError
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.preprocess import recipe
from qlvit_edge.training.checkpoint import Checkpoint

OPSET = 17
_SYMBOLIC = "aten::exp2"


def export_onnx(
    checkpoint: Checkpoint, *, unpadded_pooling: bool = False, with_metadata: bool = True
) -> bytes:
    """Return the network as the bytes of an ONNX file that the ONNX checker accepts.

    Args:
        checkpoint: the trained network.
        unpadded_pooling: see `export_copy`.
        with_metadata: put labels, preprocessing and origin into the file.

    Raises:
        ConversionError: an operator of the network has no ONNX form, or the checker finds
            something.
    """
    config = checkpoint.run.network
    image = torch.zeros(1, config.channels, *config.input_size)
    network = export_copy(checkpoint.network, unpadded_pooling=unpadded_pooling)
    model = onnx.load_from_string(trace(network, image))
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


def trace(network: nn.Module, image: Tensor) -> bytes:
    """Return any network, traced on one image (1, channels, H, W), as the exporter writes it.

    Raises:
        ConversionError: an operator of the network has no ONNX form.
    """
    register_custom_op_symbolic(_SYMBOLIC, _exp2, OPSET)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # the exporter warns of itself and of tracing
            file = Path(folder) / "network.onnx"
            torch.onnx.export(
                network,
                (image,),
                file,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=False,
            )
            return file.read_bytes()
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConversionError(
            "network",
            f"cannot be exported to ONNX ({_first_line(error)})",
            "use the native route",
        ) from error
    finally:
        unregister_custom_op_symbolic(_SYMBOLIC, OPSET)


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
