"""Small real `.tflite` models, written with the schema's object API, for tests.

The network averages an image's colour and multiplies it with one weight row a class, so its
answers can be computed by hand; the integer form is uint8 in, int8 logits out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

COLOURS = {"BLUE": (-40, -40, 80), "GREEN": (-40, 80, -40), "RED": (80, -40, -40)}


def tiny_model(
    *,
    size: int = 8,
    classes: dict[str, tuple[int, int, int]] | None = None,
    floating: bool = False,
    softmax: bool = False,
    features: bool = False,
) -> bytes:
    """Return a model of input (1, size, size, 3) and one logit (or probability) a class.

    With features, the average colour that its logits are made of is a second output.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    weights = np.array(list((classes or COLOURS).values()), dtype=np.int8)
    count = len(weights)
    model = s.ModelT()
    model.version = 3
    model.description = b"tiny test model"
    model.buffers = [s.BufferT()]
    model.operatorCodes = []
    graph = s.SubGraphT()
    graph.name = b"main"
    graph.tensors, graph.operators = [], []

    def tensor(
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        scale: float | list[float] | None = None,
        zero_point: int = 0,
        data: np.ndarray | None = None,
    ) -> int:
        entry = s.TensorT()
        entry.name = name.encode()
        entry.shape = np.array(shape, np.int32)
        entry.type = s.TensorType.FLOAT32 if floating and scale is not None else dtype
        if scale is not None and not floating:
            scales = np.atleast_1d(np.array(scale, np.float32))
            entry.quantization = s.QuantizationParametersT()
            entry.quantization.scale = scales
            entry.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            entry.quantization.quantizedDimension = 0
        entry.buffer = 0
        if data is not None:
            buffer = s.BufferT()
            if floating and scale is not None:
                data = (data * np.asarray(scale).reshape(-1, *[1] * (data.ndim - 1))).astype("<f4")
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def operator(name: str, version: int, inputs: list[int], outputs: list[int], options: Any):
        code = s.OperatorCodeT()
        code.builtinCode = getattr(s.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        model.operatorCodes.append(code)
        entry = s.OperatorT()
        entry.opcodeIndex = len(model.operatorCodes) - 1
        entry.inputs = np.array(inputs, np.int32)
        entry.outputs = np.array(outputs, np.int32)
        if options is not None:
            entry.builtinOptions = options
            entry.builtinOptionsType = getattr(s.BuiltinOptions, type(options).__name__[:-1])
        graph.operators.append(entry)

    # The float model computes the same on the same 0..255 pixels.
    image = tensor("image", (1, size, size, 3), s.TensorType.UINT8, 1.0, 0)
    shifted = image
    if not floating:
        shifted = tensor("shifted", (1, size, size, 3), s.TensorType.INT8, 1.0, -128)
        operator("QUANTIZE", 1, [image], [shifted], None)
    identity = np.eye(3, dtype=np.int8).reshape(3, 1, 1, 3) * 64
    kernel = tensor(
        "kernel", (3, 1, 1, 3), s.TensorType.INT8, [1 / 64, 1 / 64, 1 / 64], data=identity
    )
    bias = tensor(
        "bias",
        (3,),
        s.TensorType.INT32,
        [1 / 64, 1 / 64, 1 / 64],
        data=np.zeros(3, np.int32),
    )
    mixed = tensor("mixed", (1, size, size, 3), s.TensorType.INT8, 1.0, -128)
    convolution = s.Conv2DOptionsT()
    convolution.strideH = convolution.strideW = 1
    convolution.padding = s.Padding.VALID
    operator("CONV_2D", 3, [shifted, kernel, bias], [mixed], convolution)
    axes = tensor("axes", (2,), s.TensorType.INT32, data=np.array([1, 2], np.int32))
    mean = tensor("mean", (1, 3), s.TensorType.INT8, 1.0, -128)
    reducer = s.ReducerOptionsT()
    reducer.keepDims = False
    operator("MEAN", 2, [mixed, axes], [mean], reducer)
    dense = tensor("dense", (count, 3), s.TensorType.INT8, 0.01, data=weights)
    offset = tensor("offset", (count,), s.TensorType.INT32, 0.01, data=np.zeros(count, np.int32))
    logits = tensor("logits", (1, count), s.TensorType.INT8, 2.0, 0)
    operator("FULLY_CONNECTED", 4, [mean, dense, offset], [logits], s.FullyConnectedOptionsT())
    answer = logits
    if softmax:
        answer = tensor("chances", (1, count), s.TensorType.INT8, 1 / 256, -128)
        options = s.SoftmaxOptionsT()
        options.beta = 1.0
        operator("SOFTMAX", 2, [logits], [answer], options)

    graph.inputs = np.array([image], np.int32)
    graph.outputs = np.array([answer, mean] if features else [answer], np.int32)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
