"""What a network costs, counted twice.

*True*: every parameter and every product, the KAN's and the attention's included.
*Paper style*: what the paper's counter saw (Table 3): parameters and multiply-accumulates
of `Conv2d`, `Linear` and norm modules only. It skips bare parameters (the dynamic
convolution's kernels, relative positions), products of activations (attention) and the whole KAN.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qlvit_edge.model.block import CLABlock
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.family import Variant
from qlvit_edge.model.kan import KAN, KANLayer
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.mlp import MLP
from qlvit_edge.model.pooled_heads import PooledHeads
from qlvit_edge.model.pooling_attention import PoolingAttention, pooled_side
from qlvit_edge.model.qlvit import QLViT, QuantisedHead
from qlvit_edge.model.stem import Stem

TABLE_3: Mapping[Variant, tuple[float, float]] = {
    "mvitv2": (23.33, 4.00),
    "v0": (24.78, 4.3),
    "v1": (23.33, 4.00),
    "v2": (25.11, 4.29),
    "v3": (25.09, 4.27),
    "v4": (9.07, 1.95),
}
"""Million parameters and GFLOPs (multiply-accumulates) that the paper prints."""


@dataclass
class Count:
    """Parameters and multiply-accumulates of one inference of one image."""

    parameters: int = 0
    macs: int = 0


@dataclass
class Cost:
    """Both ways of counting, and the true count by part of the network."""

    true: Count = field(default_factory=Count)
    paper_style: Count = field(default_factory=Count)
    parts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))

    def as_dict(self) -> dict[str, object]:
        """Return the counts as plain data for JSON."""
        return {
            "true": vars(self.true),
            "paper_style": vars(self.paper_style),
            "parts": {name: vars(count) for name, count in self.parts.items() if count.parameters},
        }


def count_cost(config: NetworkConfig) -> Cost:
    """Count a network's parameters and multiply-accumulates for one image.

    The dynamic convolution is counted as the device runs it: K depthwise convolutions and
    the mixing of their maps.
    """
    with torch.device("meta"):  # shapes are counted; nothing is computed
        network = QLViT(config).eval()
        image = torch.zeros(1, config.channels, *config.input_size)
    cost = Cost()
    handles = []

    def watch(module: nn.Module, part: str) -> None:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            macs = _macs(module, inputs[0], output)
            cost.parts[part].macs += macs
            cost.true.macs += macs
            if isinstance(module, nn.Conv2d | nn.Linear):
                cost.paper_style.macs += macs

        handles.append(module.register_forward_hook(count))

    inside_kan = {p for m in network.modules() if isinstance(m, KAN) for p in m.parameters()}
    for name, module in network.named_modules():
        part = _part(name, network)
        watch(module, part)
        for parameter in module.parameters(recurse=False):
            cost.parts[part].parameters += parameter.numel()
            cost.true.parameters += parameter.numel()
            bare = isinstance(module, DynamicConv | KANLayer | PoolingAttention)
            if not bare and parameter not in inside_kan:
                cost.paper_style.parameters += parameter.numel()
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return cost


def _macs(module: nn.Module, x: Tensor, output: Tensor) -> int:
    """Return the products that this module itself makes (not its children)."""
    if isinstance(module, nn.Conv2d):  # all of the batch: attention pools its heads as one
        return output.numel() * module.weight[0].numel()
    if isinstance(module, QuantisedHead):  # its linear layer is applied functionally
        return module.linear.weight.numel()
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    if isinstance(module, DynamicConv):
        kernels = module.weight.shape[0]
        return output[0].numel() * kernels * (module.weight[0, 0].numel() + 1)
    if isinstance(module, KANLayer):
        coefficients = module.get_parameter("coefficients").numel() + module.base_weight.numel()
        return coefficients * x.shape[2] * x.shape[3]
    if isinstance(module, PooledHeads):
        return _attention_macs(module, x, output)
    return 0


def _attention_macs(attention: PooledHeads, x: Tensor, output: Tensor) -> int:
    """Return the products of activations, and those with tables of relative positions."""
    _, width, *sides = output.shape
    queries = math.prod(sides)
    k_sides = [pooled_side(side, attention.kv_stride) for side in x.shape[2:]]
    keys = math.prod(k_sides)
    if isinstance(attention, LinearAttention):  # Kᵀ V over keys, then with every query
        return (keys + queries) * width * attention.head_width
    # Q Kᵀ and P V, and each query with as many positions as there are rows and columns of keys
    return queries * width * (2 * keys + sum(k_sides))


def _part(name: str, network: QLViT) -> str:
    """Name the part of the network that a module belongs to."""
    owners: list[str] = []
    path = name.split(".")
    for length in range(1, len(path) + 1):
        module = network.get_submodule(".".join(path[:length])) if name else network
        if isinstance(module, Stem):
            owners.append("stem")
        elif isinstance(module, DynamicConv):
            owners.append("dynamic convolution")
        elif isinstance(module, LinearAttention):
            owners.append("linear attention")
        elif isinstance(module, PoolingAttention):
            owners.append("pooling attention")
        elif isinstance(module, KAN):
            owners.append("KAN")
        elif isinstance(module, MLP):
            owners.append("MLP")
        elif isinstance(module, QuantisedHead):
            owners.append("head")
        elif isinstance(module, CLABlock):
            owners.append("norm, mapping and skip")
    return owners[-1] if owners else "network"
