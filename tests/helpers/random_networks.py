"""Random small members of the family: shapes for hypothesis, weights and statistics for them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from qlvit_edge.converters.idioms.softmax import softmax_axes
from qlvit_edge.converters.lower.checkpoint import float_graph
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.integer.log2_softmax import LARGEST_ANCHOR
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.family import KAN_BASES, NORMS, VARIANTS
from qlvit_edge.model.norms import ChannelNorm
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.training.varying import to_input

_SEEN = 3  # views that the ranges come from
_LEAST = 2.0**-6  # width of a constant tensor's range


@st.composite
def configs(draw: st.DrawFn) -> NetworkConfig:
    """Draw any member of the family that runs in milliseconds."""
    heads = tuple(draw(st.sampled_from([1, 1, 2, 3, 4])) for _ in range(4))
    basis = draw(st.sampled_from(KAN_BASES))
    norm = draw(st.sampled_from(NORMS))
    least = 2 if norm == "layer" else 1
    stride = draw(st.sampled_from([1, 2, 4]))
    sides = st.integers(1, 3 if stride == 4 else 4).map(lambda count: 8 * stride * count)
    return NetworkConfig(
        size="random",
        variant=draw(st.sampled_from([*VARIANTS, "v4", "v4"])),
        input_size=(draw(sides), draw(sides)),
        channels=draw(st.sampled_from([1, 3])),
        classes=draw(st.integers(2, 7)),
        stem_kernel=draw(st.sampled_from([1, 3, 5, 7, 9])),
        stem_stride=stride,
        widths=tuple(h * draw(st.integers(least, 8)) for h in heads),
        depths=tuple(draw(st.integers(1, 2)) for _ in range(4)),
        heads=heads,
        kv_pool=tuple(draw(st.sampled_from([1, 1, 2, 3, 4])) for _ in range(4)),
        norm=norm,
        dynamic_kernels=draw(st.integers(1, 6)),
        mlp_ratio=draw(st.integers(1, 4)),
        kan_rank=draw(st.integers(least, 9)),
        kan_basis=basis,
        kan_intervals=draw(st.integers(1, 4)) * (2 if basis == "linear" else 1),
        kan_range=draw(st.sampled_from([1.0, 2.5, 3.0, 4.0])),
    )


def random_views(config: NetworkConfig, seed: int, count: int) -> NDArray[np.uint8]:
    """Return (count, h, w, channels) views: noise, smooth fields, a flat one, an extreme one."""
    generator = np.random.default_rng([seed, 1])
    height, width = config.input_size
    shape = (height, width, config.channels)
    made = []
    for index in range(count):
        kind = index % 4
        if kind == 0:
            view = generator.integers(0, 256, shape)
        elif kind == 1:
            slope = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 127, width))
            view = slope[:, :, None] * generator.uniform(0.3, 1, config.channels)
        elif kind == 2:
            view = np.full(shape, generator.integers(0, 256))
        else:
            view = 255 * generator.integers(0, 2, shape)
        made.append(np.asarray(view).astype(np.uint8))
    return np.stack(made)


def random_network(config: NetworkConfig, seed: int) -> QLViT:
    """Return a network of random weights, gains, offsets and statistics, in evaluation mode.

    The statistics begin as those of its own activations, so that no value leaves float32, and
    are then moved; some gains are negative, a few are zero.
    """
    torch.manual_seed(seed)
    network = QLViT(config)
    batch = to_input(random_views(config, seed, 4), torch.device("cpu"))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(torch.empty(()).uniform_(0.5, 2.0))
            if name.endswith("coefficients"):
                parameter.mul_(4.0)
        for module in network.modules():
            if hasattr(module, "temperature"):
                module.temperature.fill_(float(torch.empty(()).uniform_(1.0, 4.0)))
        for _ in range(20):
            network(batch)
        network.eval()
        for module in network.modules():
            _move(module)
        # The quantisers' ranges are those of what now reaches them.
        quantisers = [m for m in network.modules() if isinstance(m, UniformQuantiser)]
        for quantiser in quantisers:
            quantiser.low.zero_()
            quantiser.high.zero_()
            quantiser.train()
        network(batch)
    return network.eval()


def _move(module: nn.Module) -> None:
    """Move a norm's statistics, gain and offset."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        mean, variance = module.running_mean, module.running_var
        assert mean is not None
        assert variance is not None
        mean.add_(torch.randn_like(mean) * variance.sqrt())
        variance.mul_(torch.randn_like(variance).mul(0.5).exp())
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | ChannelNorm):
        gain = torch.randn_like(module.weight).mul(0.5).exp()
        gain *= torch.where(torch.rand_like(gain) < 0.3, -1.0, 1.0)
        gain *= torch.where(torch.rand_like(gain) < 0.1, 0.0, 1.0)
        module.weight.copy_(gain)
        module.bias.normal_(0.0, 0.5)


def observed(network: QLViT, seed: int) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """Return every tensor's extremes over a few views, and an anchor for every softmax.

    The anchors are random: every table is to be tried, not the best one.
    """
    graph = float_graph(network, "observed")
    interpreter = Interpreter(write_tflite(graph), kernels=Kernels.BUILTIN, keep_all_tensors=True)
    seen = []
    for view in random_views(network.config, seed, _SEEN):
        interpreter.invoke(view.astype(np.float32))
        seen.append(interpreter.tensors())
    ranges = {
        operation.output.name: (
            min(float(kept[operation.output.name].min()) for kept in seen),
            max(float(kept[operation.output.name].max()) for kept in seen),
        )
        for operation in graph.operations
    }
    # A tensor that was zero on every view would get scale 1, and XNNPACK refuses a file where a
    # step of a product's input is 256 steps of its output or more.
    ranges = {n: (low, high if high > low else high + _LEAST) for n, (low, high) in ranges.items()}
    generator = np.random.default_rng([seed, 2])
    anchors = {name: int(generator.integers(LARGEST_ANCHOR + 1)) for name in softmax_axes(graph)}
    return ranges, anchors
