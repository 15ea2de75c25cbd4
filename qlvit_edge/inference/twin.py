"""Every tensor of the default kernels, whose delegate keeps its inner ones: a twin with outputs.

The twin of a model is the same file with every tensor that an operator makes as an output. The
runtime cuts it into the same partitions, which is checked, so that the same kernels run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.native import load_native, plan, run_native
from qlvit_edge.modelfile.document import Document
from qlvit_edge.modelfile.metadata import pack
from qlvit_edge.modelfile.reader import read_document


def with_all_outputs(model: bytes) -> bytes:
    """Return a model file of one subgraph with all that its operators make as outputs, in order.

    Raises:
        ModelFileError: the file is no TFLite model, or has more subgraphs than one.
    """
    (graph,) = _one_graph(model).subgraphs
    return _with_outputs(model, [made for operator in graph.operators for made in operator.outputs])


def with_output(model: bytes, tensor: int) -> bytes:
    """Return a model file of one subgraph with its answer and one more tensor as outputs.

    Args:
        model: the file.
        tensor: the number of a tensor that an operator makes.

    Raises:
        ModelFileError: the file is no TFLite model, or has more subgraphs than one.
    """
    (graph,) = _one_graph(model).subgraphs
    return _with_outputs(model, [graph.outputs[0], tensor])


def _one_graph(model: bytes) -> Document:
    document = read_document(model)
    if len(document.subgraphs) != 1:
        raise ModelFileError("model", "it has more than one subgraph", "give a plain network")
    return document


def _with_outputs(model: bytes, tensors: Sequence[int]) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    tree: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    (graph,) = tree.subgraphs
    graph.outputs = np.array(tensors, np.int32)
    tree.signatureDefs = None
    tree.metadata = None  # describes what the twin lacks, an archive of labels for one
    return pack(tree)


class Twin:
    """A model's twin on the default kernels, ready to run."""

    def __init__(self, model: bytes, real: Interpreter) -> None:
        """Load the twin.

        Args:
            model: the file.
            real: the same file, loaded on the default kernels.

        Raises:
            ModelFileError: the runtime cuts the two into different partitions.
        """
        self._native = load_native(with_all_outputs(model), "twin", Kernels.AUTO, "litert", 1)
        delegated, left = plan(self._native)
        if (delegated, left) != (real.delegated, real.operators_left):
            raise ModelFileError(
                "model",
                f"with all tensors as outputs XNNPACK takes {len(delegated)} partitions and leaves "
                f"{left} operators, of the file itself {real.partitions} and {real.operators_left}",
                "report this as a bug",
            )
        self._input = int(self._native.get_input_details()[0]["index"])
        self._outputs = {d["name"]: int(d["index"]) for d in self._native.get_output_details()}

    def tensors(self, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run it once and return every tensor that an operator makes, by name; copies.

        Args:
            values: the input without its batch axis.

        Raises:
            DeviceError: the runtime failed.
        """
        self._native.set_tensor(self._input, np.ascontiguousarray(values[np.newaxis]))
        run_native(self._native, "twin")
        get = self._native.get_tensor
        return {name: np.asarray(get(index)) for name, index in self._outputs.items()}
