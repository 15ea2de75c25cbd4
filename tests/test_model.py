import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from small_run import small_config

from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.model.configs import SIZES, size_config
from qlvit_edge.model.cost import count_cost
from qlvit_edge.model.dynamic_conv import DynamicConv, set_temperature
from qlvit_edge.model.kan import CubicKANLayer, LinearKANLayer
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.norms import ChannelNorm
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.stem import Stem


def test_mixed_kernels_and_mixed_maps_are_the_same_dynamic_convolution() -> None:
    torch.manual_seed(0)
    dynamic = DynamicConv(8, 4, "float")
    torch.nn.init.normal_(dynamic.bias)
    padded = torch.randn(3, 8, 9, 7)
    pi = dynamic.attention(padded[:, :, 1:-1, 1:-1].mean((2, 3)))
    maps = [
        torch.nn.functional.conv2d(padded, dynamic.weight[k][:, None], dynamic.bias[k], groups=8)
        for k in range(4)
    ]
    mixed = sum(pi[:, k, None, None, None] * maps[k] for k in range(4))
    torch.testing.assert_close(dynamic(padded), mixed)


def test_channel_norm_is_layer_norm_at_each_position_and_padding_becomes_its_offset() -> None:
    torch.manual_seed(0)
    norm = ChannelNorm(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 4) * 3 + 1
    for row, column in ((0, 0), (2, 3)):
        expected = torch.nn.functional.layer_norm(
            x[:, :, row, column], (6,), norm.weight, norm.bias
        )
        torch.testing.assert_close(norm(x)[:, :, row, column], expected)
    padded = norm(torch.nn.functional.pad(x, (1, 1, 1, 1)))
    torch.testing.assert_close(padded[:, :, 1:-1, 1:-1], norm(x))
    torch.testing.assert_close(padded[:, :, 0, 0], norm.bias.expand(2, 6))


def test_the_stem_normalises_red_green_and_blue_by_their_own_means() -> None:
    """The order is RGB, as `decode` gives it, with the means and deviations of ImageNet."""
    stem = QLViT(small_config()).stem
    assert stem.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert stem.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


def test_grey_images_are_normalised_by_the_means_over_colours() -> None:
    stem = Stem(1, 4, 7, 4)
    assert float(stem.mean) == pytest.approx(255 * (0.485 + 0.456 + 0.406) / 3)
    assert float(stem.std) == pytest.approx(255 * (0.229 + 0.224 + 0.225) / 3)
    assert stem.convolution.weight.shape == (4, 1, 7, 7)


def test_pooled_attention_pools_keys_and_values_as_the_query() -> None:
    torch.manual_seed(0)
    pooled = LinearAttention(6, 8, 2, 1, 3, small_config(softmax="float")).eval()
    x = torch.randn(2, 6, 7, 5)
    key = pooled.key_norm(pooled.key_pool(pooled.key(x).reshape(4, 4, 7, 5)))
    value = pooled.value_norm(pooled.value_pool(pooled.value(x).reshape(4, 4, 7, 5)))
    query = pooled.pool_norm(pooled.pool(pooled.query(x).reshape(4, 4, 7, 5)))
    assert key.shape == value.shape == (4, 4, 3, 2)
    q, k, v = (t.flatten(2).transpose(1, 2) for t in (query, key, value))  # tokens as rows
    attended = torch.sigmoid(q) @ (torch.sigmoid(k).transpose(1, 2) @ torch.softmax(v, 1)) / 2
    joined = (attended + q).transpose(1, 2).reshape(2, 8, 7, 5)
    torch.testing.assert_close(pooled(x), pooled.project(joined), rtol=1e-4, atol=1e-5)


def test_temperature_flattens_attention_and_survives_the_state_dict() -> None:
    dynamic = DynamicConv(8, 4, "float")
    pooled = torch.randn(2, 8) * 10
    set_temperature(dynamic, 1.0)
    sharp = dynamic.attention(pooled).max()
    set_temperature(dynamic, 30.0)
    assert dynamic.attention(pooled).max() < sharp
    copy = DynamicConv(8, 4, "float")
    set_temperature(copy, 1.0)
    copy.load_state_dict(dynamic.state_dict())
    assert float(copy.temperature) == 30.0


def test_attention_follows_equation_8() -> None:
    torch.manual_seed(0)
    attention = LinearAttention(6, 8, 2, 1, 1, small_config(softmax="float")).eval()
    x = torch.randn(1, 6, 5, 4)
    q = attention.query(x).reshape(2, 4, 5, 4)
    q = attention.pool_norm(attention.pool(q)).reshape(2, 4, 20)
    k = attention.key(x).reshape(2, 4, 20)
    v = attention.value(x).reshape(2, 4, 20)
    heads = []
    for head in range(2):
        # Q, K, V of eq. 8 have tokens as rows.
        qs, ks = torch.sigmoid(q[head].T), torch.sigmoid(k[head].T)
        vs = torch.softmax(v[head].T, 0)  # eq. 10: over tokens, per column
        heads.append((qs @ (ks.T @ vs)).T / math.sqrt(4) + q[head])
    expected = attention.project(torch.cat(heads).reshape(1, 8, 5, 4))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_linear_kan_layer_is_the_sum_of_hat_functions_and_base_path() -> None:
    torch.manual_seed(0)
    layer = LinearKANLayer(3, 5, small_config()).double().eval()
    x = torch.randn(2, 3, 4, 4).double() * 3
    clamped = layer.norm(x).clamp(-3, 3)
    hats = (1 - (clamped[..., None] - layer.knots()).abs() / layer.step).clamp(min=0)
    expected = torch.einsum("bihwk,oik->bohw", hats, layer.coefficients)
    expected = expected + torch.einsum("bihw,oi->bohw", torch.relu(clamped), layer.base_weight)
    torch.testing.assert_close(layer(x), expected)


def test_cubic_bases_are_the_b_splines_of_the_extended_uniform_grid() -> None:
    layer = CubicKANLayer(1, 1, small_config(kan_basis="cubic", kan_intervals=5))
    position = torch.linspace(0, 4.999, 200, dtype=torch.float64)[None]
    ours = layer.bases(position)[0].numpy()
    knots = np.arange(-3, 9, dtype=float)
    theirs = np.stack(
        [BSpline.basis_element(knots[i : i + 5], extrapolate=False)(position[0].numpy())
         for i in range(8)]
    )  # fmt: skip
    np.testing.assert_allclose(ours, np.nan_to_num(theirs), atol=1e-12)
    np.testing.assert_allclose(ours.sum(0), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"kan_basis": "linear"},
        {"kan_basis": "cubic"},
        {"variant": "v3", "norm": "layer", "channels": 1},
        {"norm": "layer", "kv_pool": (3, 2, 1, 1), "input_size": (64, 96)},
    ],
)
def test_network_maps_images_to_logits_and_every_parameter_learns(
    changes: dict[str, object],
) -> None:
    torch.manual_seed(0)
    config = small_config(**changes)
    network = QLViT(config)
    logits = network(torch.rand(3, config.channels, *config.input_size) * 255)
    assert logits.shape == (3, 4)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_true_and_paper_style_costs_are_within_the_papers_arithmetic() -> None:
    paper = count_cost(SIZES["paper"])
    assert paper.true.parameters <= 9_900_000
    assert paper.true.macs <= 2_500_000_000
    assert 8_900_000 < paper.paper_style.parameters <= 9_080_000
    assert 1_850_000_000 < paper.paper_style.macs <= 1_960_000_000
    nano = count_cost(SIZES["nano"])
    assert nano.true.parameters <= 700_000
    assert nano.true.macs <= 60_000_000
    network = QLViT(SIZES["nano"])
    assert nano.true.parameters == sum(p.numel() for p in network.parameters())
    assert sum(part.macs for part in nano.parts.values()) == nano.true.macs


def test_unknown_size_is_refused_with_the_choices() -> None:
    with pytest.raises(QLViTEdgeError, match="paper, tiny, nano"):
        size_config("giant")


def test_odd_grid_has_no_knot_at_zero_and_is_refused() -> None:
    with pytest.raises(ValueError, match="knot at zero"):
        small_config(kan_intervals=5)
