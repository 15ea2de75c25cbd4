"""One way to say what the network computes, in two arithmetics.

Lowering calls a :class:`GraphBuilder` in the order of the network's ``forward``.
:class:`~qlvit_edge.converters.integer_builder.IntegerBuilder` answers with the integer
graph of the device, :class:`~qlvit_edge.converters.float_builder.FloatBuilder` with its
float32 twin (for calibration, and as what the integer file is compared with). Tensors of
equal name hold the same real-valued quantity in both.

Activations are ``(1, H, W, C)`` maps or ``(1, heads, tokens, d)`` stacks of matrices. Weights
and biases are always given as real numbers; the integer builder quantises them.

One module a concept: `base` collects operations, `layout` moves values, `arithmetic`,
`convolutions`, `norm` and `kan` compute, `probabilities` are what a softmax answers with,
and `graph_builder` joins them.
"""

from qlvit_edge.converters.builder.base import Range
from qlvit_edge.converters.builder.graph_builder import GraphBuilder
from qlvit_edge.converters.builder.probabilities import (
    Log2Probabilities,
    SingleTensorProbabilities,
)

__all__ = ["GraphBuilder", "Log2Probabilities", "Range", "SingleTensorProbabilities"]
