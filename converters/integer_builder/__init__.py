"""The integer graph of the device: every tensor int8 (or int32 inside softmax and norm).

One module a concept: `base` gives tensors their scales, `activations`, `softmax`, `dynamic`,
`layer_norm` and `kan` compose operations that the device's kernels have.
"""

from qlvit_edge.converters.integer_builder.activations import ActivationBuilder
from qlvit_edge.converters.integer_builder.dynamic import DynamicConvolutionBuilder
from qlvit_edge.converters.integer_builder.kan import IntegerKanBuilder
from qlvit_edge.converters.integer_builder.layer_norm import IntegerNormBuilder
from qlvit_edge.converters.integer_builder.softmax import SoftmaxBuilder

__all__ = ["IntegerBuilder"]


class IntegerBuilder(
    ActivationBuilder,
    SoftmaxBuilder,
    DynamicConvolutionBuilder,
    IntegerNormBuilder,
    IntegerKanBuilder,
):
    """Builds with int8 tensors; ranges come from calibration, unless they are fixed."""
