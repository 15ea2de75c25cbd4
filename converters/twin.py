"""Every tensor of the default kernels: they give their outputs only, so a twin makes all outputs.

A delegate keeps the tensors inside its partitions to itself. The twin of a graph is the same graph
with every activation as an output; the runtime cuts it into the same partitions, which
:func:`require_same_partitions` checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.converters.graph import Array, Graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import ConversionError
from qlvit_edge.runtime.interpreter import Interpreter, Kernels, load_native, plan, run_native


def with_all_outputs(graph: Graph) -> Graph:
    """Return the graph with every activation an output: its own outputs first."""
    made = (operation.output for operation in graph.operations)
    own = {tensor.name for tensor in graph.outputs}
    return replace(graph, outputs=(*graph.outputs, *(t for t in made if t.name not in own)))


class Twin:
    """A graph's twin on the default kernels, ready to run.

    Attributes:
        delegated: numbers of the operators in each part of the graph that XNNPACK took over.
        left: number of operators outside those parts.
    """

    def __init__(self, graph: Graph) -> None:
        """Write and load the twin of a graph.

        Raises:
            ModelFileError: the runtime refuses it.
        """
        content = write_tflite(with_all_outputs(graph))
        self._native = load_native(content, "twin of the model", Kernels.AUTO, "litert", 1)
        self.delegated, self.left = plan(self._native)
        self._inputs = {d["name"]: int(d["index"]) for d in self._native.get_input_details()}
        self._outputs = {d["name"]: int(d["index"]) for d in self._native.get_output_details()}

    def invoke(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, Array]:
        """Run it once.

        Args:
            inputs: by tensor name, each of the input tensor's shape and type.

        Returns:
            Every tensor that an operation makes, by name; copies.

        Raises:
            DeviceError: the runtime failed.
        """
        for name, values in inputs.items():
            self._native.set_tensor(self._inputs[name], np.ascontiguousarray(values))
        run_native(self._native)
        return {n: np.asarray(self._native.get_tensor(i)) for n, i in self._outputs.items()}

    def require_same_partitions(self, real: Interpreter) -> None:
        """Refuse a twin that runs on other kernels than the file itself.

        Args:
            real: the file, on the default kernels.

        Raises:
            ConversionError: the runtime cuts them differently.
        """
        if (self.delegated, self.left) != (real.delegated, real.operators_left):
            raise ConversionError(
                "converted model",
                f"its twin runs in {len(self.delegated)} XNNPACK partitions with {self.left} "
                f"operators left, the file itself in {real.partitions} with {real.operators_left}",
                "report this as a bug",
            )
