"""The trained network in a form that exporters and other converters take.

The copy made here computes what the network computes in evaluation, with operators of fixed
weights only: mean and standard deviation folded into the stem, the dynamic convolution as the
device runs it (K convolutions, their maps mixed), the KAN's ramps as one constant each, the
activation quantisers in float32. The network itself is left alone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from qlvit_edge.integer.spline import cubic
from qlvit_edge.model.dynamic_conv import DynamicConv, softmax
from qlvit_edge.model.kan import CubicKANLayer, KANLayer, LinearKANLayer
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.norms import ChannelNorm
from qlvit_edge.model.qlvit import QLViT, QuantisedHead
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.model.stem import Stem
from qlvit_edge.presence import present


def export_copy(network: QLViT, *, unpadded_pooling: bool = False) -> QLViT:
    """Return a copy of ``network`` for exporters, in evaluation mode.

    Args:
        network: the trained network.
        unpadded_pooling: give max-pools their border by repeating the first row and column,
            which is exact for windows of 3 and steps of 2 on even sides; onnx2tf pads with
            zeros instead of -∞ when it quantises.
    """
    swapped: QLViT = copy.deepcopy(network).eval()
    for name, module in list(swapped.named_modules()):
        parent, _, child = name.rpartition(".")
        owner = swapped.get_submodule(parent)
        replacement = _replacement(module, owner, unpadded_pooling)
        if replacement is not None:
            setattr(owner, child, replacement.eval())
    return swapped


def _replacement(module: nn.Module, owner: nn.Module, unpadded_pooling: bool) -> nn.Module | None:
    if isinstance(owner, LinearAttention) and owner.heads > 1:
        if (
            isinstance(module, nn.Conv2d)
            and module.groups == module.in_channels == owner.head_width
        ):
            return _AllHeads(_repeated_convolution(module, owner.heads))
        if isinstance(module, nn.BatchNorm2d):
            return _AllHeads(_repeated_norm(module, owner.heads))
    if isinstance(module, Stem):
        return _FoldedStem(module)
    if isinstance(module, DynamicConv):
        return _MixedConvolutions(module)
    if isinstance(module, LinearKANLayer):
        return _Ramps(module)
    if isinstance(module, CubicKANLayer):
        return _Splines(module)
    if isinstance(module, ChannelNorm):
        return _NormByMeans(module)
    if isinstance(module, UniformQuantiser):
        return _Grid(module)
    if isinstance(module, QuantisedHead):
        return _Head(module)
    if unpadded_pooling and isinstance(module, nn.MaxPool2d):
        return _RepeatedBorderPool()
    return None


class _Grid(nn.Module):
    """Eq. 14-18 in float32, with constants instead of tensors."""

    def __init__(self, source: UniformQuantiser) -> None:
        super().__init__()
        low, high = source.low.double(), source.high.double()
        self.scale = float(((high - low) / source.levels).float())
        self.scale = self.scale if self.scale >= torch.finfo(torch.float32).tiny else 1.0
        zero_point = min(max(round(-float(low) / self.scale), 0), source.levels)
        self.lowest, self.highest = float(-zero_point), float(source.levels - zero_point)
        self.enabled = source.enabled

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        steps = torch.floor(x * (1 / self.scale) + 0.5)
        return steps.clamp(self.lowest, self.highest) * self.scale


class _NormByMeans(nn.Module):
    """LayerNorm over the channels without moving them to the last axis."""

    def __init__(self, source: ChannelNorm) -> None:
        super().__init__()
        self.source = source

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        centred = x - x.mean(1, keepdim=True)
        deviation = torch.sqrt((centred * centred).mean(1, keepdim=True) + self.source.epsilon)
        gain, offset = self.source.weight.reshape(shape), self.source.bias.reshape(shape)
        return centred / deviation * gain + offset


class _FoldedStem(nn.Module):
    """Mean and standard deviation inside the weights: exact, the raw image is padded."""

    def __init__(self, source: Stem) -> None:
        super().__init__()
        self.padding = source.padding
        weight = source.convolution.weight.detach().double()
        mean = source.mean.double().reshape(1, -1, 1, 1)
        std = source.std.double().reshape(1, -1, 1, 1)
        self.convolution = copy.deepcopy(source.convolution)
        self.convolution.weight = nn.Parameter((weight / std).float())
        self.convolution.bias = nn.Parameter(-(weight * mean / std).sum((1, 2, 3)).float())
        self.norm = source.norm

    def forward(self, image: Tensor) -> Tensor:
        padded = nn.functional.pad(image, (self.padding,) * 4)
        out: Tensor = self.norm(self.convolution(padded))
        return out


class _MixedConvolutions(nn.Module):
    """``Σ_k π_k (W_k * x + b_k)`` as K convolutions of constant weights."""

    def __init__(self, source: DynamicConv) -> None:
        super().__init__()
        self.source = source
        self.temperature = float(source.temperature)

    def forward(self, padded: Tensor) -> Tensor:
        source = self.source
        pooled = padded[:, :, 1:-1, 1:-1].mean((2, 3))
        z = source.excite(torch.relu(source.squeeze(pooled))) / self.temperature
        pi = softmax(z, 1, source.softmax_form)
        kernels, channels = source.bias.shape
        mixed: Tensor | None = None
        for k in range(kernels):
            one = nn.functional.conv2d(
                padded, source.weight[k][:, None], source.bias[k], groups=channels
            )
            share = pi[:, k : k + 1, None, None] * one
            mixed = share if mixed is None else mixed + share
        return present(mixed, "a kernel to mix")


class _OnGrid(nn.Module):
    """A KAN layer's position on its grid, by constants."""

    def __init__(self, source: KANLayer) -> None:
        super().__init__()
        self.norm, self.intervals = source.norm, source.intervals
        self.reach, self.step = source.reach, source.step

    def position(self, x: Tensor) -> Tensor:
        on_grid: Tensor = (self.norm(x) + self.reach) * (1 / self.step)
        return on_grid.clamp(0.0, float(self.intervals))


class _Ramps(_OnGrid):
    """The piecewise-linear layer: ramps side by side on the channel axis, one 1×1."""

    def __init__(self, source: LinearKANLayer) -> None:
        super().__init__(source)
        values = source.knot_values().detach()
        slopes = (values[..., 1:] - values[..., :-1]).transpose(1, 2).flatten(1)
        self.weight = nn.Parameter(slopes[..., None, None])
        self.bias = nn.Parameter(values[..., 0].sum(1))

    def forward(self, x: Tensor) -> Tensor:
        position = self.position(x)
        ramps = [(position - float(i)).clamp(0.0, 1.0) for i in range(self.intervals)]
        return nn.functional.conv2d(torch.cat(ramps, 1), self.weight, self.bias)


class _Splines(_OnGrid):
    """The cubic layer, a basis function at a time."""

    def __init__(self, source: CubicKANLayer) -> None:
        super().__init__(source)
        weight = torch.cat([source.coefficients, source.base_weight[..., None]], 2).detach()
        self.weight = nn.Parameter(weight.transpose(1, 2).flatten(1)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        position = self.position(x)
        features = []
        for centre in range(-1, self.intervals + 2):
            features.append(cubic((position - float(centre)).abs()))
        features.append(nn.functional.silu(position * self.step - self.reach))
        return nn.functional.conv2d(torch.cat(features, 1), self.weight)


class _Head(nn.Module):
    """The head with its weights as constants, rounded where the forward pass rounds them."""

    def __init__(self, source: QuantisedHead) -> None:
        super().__init__()
        self.norm = source.norm
        self.quantiser = _Grid(source.quantiser)
        self.linear = copy.deepcopy(source.linear)
        self.linear.weight = nn.Parameter(source.weight().detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.quantiser(self.norm(x.mean((2, 3)))))
        return out


class _AllHeads(nn.Module):
    """A layer that heads share, its weights repeated: it sees the heads side by side.

    The network lays the heads along the batch axis for it. onnx2tf takes the batch axis for
    granted and mixes up what is folded into it.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        heads, width, *sides = x.shape
        out = self.layer(x.reshape(1, heads * width, *sides))
        return out.reshape(heads, width, *out.shape[2:])  # type: ignore[no-any-return]


def _repeated_convolution(source: nn.Conv2d, heads: int) -> nn.Conv2d:
    channels = heads * source.in_channels
    wide = nn.Conv2d(
        channels,
        channels,
        source.kernel_size,  # type: ignore[arg-type]
        source.stride,  # type: ignore[arg-type]
        source.padding,  # type: ignore[arg-type]
        groups=channels,
        bias=source.bias is not None,
    )
    wide.load_state_dict(_repeated_state(source, heads))
    return wide


def _repeated_norm(source: nn.BatchNorm2d, heads: int) -> nn.BatchNorm2d:
    wide = nn.BatchNorm2d(heads * source.num_features, source.eps)
    wide.load_state_dict(_repeated_state(source, heads))
    return wide


def _repeated_state(source: nn.Module, heads: int) -> dict[str, Tensor]:
    return {
        name: value.repeat(heads, *[1] * (value.dim() - 1)) if value.dim() else value
        for name, value in source.state_dict().items()
    }


class _RepeatedBorderPool(nn.Module):
    """MaxPool2d(3, 2, 1) on even sides, without padding."""

    def forward(self, x: Tensor) -> Tensor:
        taller = torch.cat([x[:, :, :1], x], 2)
        wider = torch.cat([taller[..., :1], taller], 3)
        return nn.functional.max_pool2d(wider, 3, 2)
