"""A network with every idiom, random weights, said once for all arithmetics."""

from __future__ import annotations

import numpy as np

from qlvit_edge.calibration.observers import AnchorObserver
from qlvit_edge.converters.graph import Graph, Tensor
from qlvit_edge.converters.idioms.activations import hard_swish, sigmoid
from qlvit_edge.converters.idioms.arithmetic import add, matmul, mean_hw, scale_by
from qlvit_edge.converters.idioms.convolutions import conv, dense, max_pool_3x3_s2, pad
from qlvit_edge.converters.idioms.dynamic import dynamic_depthwise
from qlvit_edge.converters.idioms.image import input_image
from qlvit_edge.converters.idioms.kan import kan_layer
from qlvit_edge.converters.idioms.layout import (
    heads_to_map,
    map_to_channel_heads,
    map_to_heads,
    reshape,
)
from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.softmax import log2_softmax, matmul_probabilities, softmax_axes
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.integer.log2_softmax import Form

SIZE, CHANNELS, HEADS, CLASSES = 32, 8, 2, 5


class Weights:
    """Random weights in a fixed order."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, gain: float = 1.0) -> np.ndarray:
        spread = gain / np.sqrt(np.prod(shape[1:]))
        return self.generator.normal(0, spread, shape)


def build(b: Writer, seed: int = 0) -> Graph:
    """Stem, two attention blocks with a pooled skip between, head."""
    w = Weights(seed)
    image = pad(b, input_image(b, SIZE, SIZE), 3, 3, 3, 3, name="stem/padded")
    x = conv(b, image, w(CHANNELS, 7, 7, 3, gain=0.02), w(CHANNELS), stride=4, name="stem")
    for index in range(2):
        x = block(b, x, w, f"block{index}")
        if index == 0:
            x = max_pool_3x3_s2(b, x, name="pool")
    features = mean_hw(b, x, name="features")
    b.output(
        reshape(b, dense(b, features, w(CLASSES, CHANNELS), name="head"), (1, 5), name="logits")
    )
    b.output(features)
    return b.build()


def block(b: Writer, x: Tensor, w: Weights, name: str) -> Tensor:
    """One block as the network has it."""
    c, side = CHANNELS, x.shape[1]
    hidden = dense(b, mean_hw(b, x, name=f"{name}/mean"), w(4, c), relu=True, name=f"{name}/hidden")
    z = dense(b, hidden, w(4, 4, gain=4), w(4), name=f"{name}/z")
    padded = pad(b, x, 1, 1, 1, 1, name=f"{name}/padded")
    mixed = dynamic_depthwise(
        b,
        padded,
        log2_softmax(b, z, 3, name=f"{name}/pi"),
        w(4, 3, 3, c, gain=3),
        w(4, c),
        name=name,
    )
    y = hard_swish(b, mixed, name=f"{name}/activated")
    projected = [conv(b, y, w(c, 1, 1, c, gain=2), name=f"{name}/{part}") for part in "qkv"]
    q = map_to_heads(
        b, sigmoid(b, projected[0], name=f"{name}/gate_q"), HEADS, name=f"{name}/q/heads"
    )
    k_map = sigmoid(b, projected[1], name=f"{name}/gate_k")
    keys = map_to_channel_heads(b, k_map, HEADS, name=f"{name}/k/heads")
    values = map_to_channel_heads(b, projected[2], HEADS, name=f"{name}/v/heads")
    product = matmul_probabilities(
        b,
        keys,
        log2_softmax(b, values, 3, name=f"{name}/softmax"),
        adjoint_p=True,
        symmetric=True,
        name=f"{name}/kv",
        fixed_range=(0.0, 1.25),
    )
    product = scale_by(b, product, 0.5, name=f"{name}/kv/scaled")
    attended = matmul(b, q, product, name=f"{name}/attended")
    joined = heads_to_map(b, attended, side, side, name=f"{name}/joined")
    x = add(b, x, conv(b, joined, w(c, 1, 1, c), name=f"{name}/project"), name=f"{name}/residual")
    down = kan_layer(
        b,
        x,
        scale=w.generator.uniform(0.5, 1.5, c),
        shift=w(c),
        knots=np.linspace(-3, 3, 7),
        weight=w(4, 6, c),
        bias=w(4),
        name=f"{name}/kan",
    )
    return add(b, x, conv(b, down, w(c, 1, 1, 4), name=f"{name}/up"), name=f"{name}/out")


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images (count, SIZE, SIZE, 3) uint8."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, SIZE // 8, SIZE // 8, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


def run_all_tensors(graph: Graph, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Run a graph's file on the reference kernels; every activation as (B, …)."""
    interpreter = Interpreter(write_tflite(graph), kernels=Kernels.REFERENCE, keep_all_tensors=True)
    rows = []
    for image in batch:
        interpreter.invoke(image[None])
        rows.append(interpreter.tensors())
    names = [tensor.name for tensor in graph.tensors() if tensor.data is None]
    return {name: np.concatenate([row[name] for row in rows]) for name in names}


def calibrated(
    form: Form, batch: np.ndarray, target: type[Int8] = Int8
) -> tuple[Graph, Graph, dict[str, np.ndarray]]:
    """Float graph, integer graph, and the float graph's tensors for `batch`."""
    floating = build(Writer("mini", Float()))
    observed = run_all_tensors(floating, batch.astype(np.float32))
    ranges = {name: (float(a.min()), float(a.max())) for name, a in observed.items()}
    anchors = {}
    for name, axis in softmax_axes(floating).items():
        observer = AnchorObserver(axis)
        observer.update(observed[name])
        anchors[name] = observer.anchor()
    integer = build(Writer("mini", target(ScaleTable(ranges, anchors), form)))
    return floating, integer, observed
