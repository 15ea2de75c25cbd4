"""How a network is said in operations: one concept per file, all arithmetics side by side.

Lowering calls the functions of these modules in the order of the network's ``forward``, with the
:class:`~qlvit_edge.converters.idioms.writer.Writer` that takes the operations. The writer's
numerics decide what is written: :class:`~qlvit_edge.converters.idioms.numerics.Float` the float32
twin (for calibration, and as what the integer file is compared with),
:class:`~qlvit_edge.converters.idioms.numerics.Int8` the integer graph of the device,
:class:`~qlvit_edge.converters.idioms.numerics.EdgeTpu` the same as far as it can be in that
device's operators. A concept without a form of its own for the Edge TPU takes the int8 one.

Tensors of equal name hold the same real-valued quantity in all of them: a function's docstring
says which, and its forms stand below it. Activations are ``(1, H, W, C)`` maps or
``(1, heads, tokens, d)`` stacks of matrices. Weights and biases are always given as real numbers.

`scales` says where ranges come from, `numerics` how tensors hold real values, `writer` collects
operations; the others are the concepts.
"""
