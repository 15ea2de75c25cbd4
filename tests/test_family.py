"""The ablation: MViTv2 and V0 to V4 from one configuration, counted as the paper counts."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_run import small_config

from qlvit_edge.model.configs import NetworkConfig, size_config
from qlvit_edge.model.cost import TABLE_3, count_cost
from qlvit_edge.model.dynamic_conv import DynamicConv
from qlvit_edge.model.family import PARTS, VARIANTS, Variant
from qlvit_edge.model.linear_attention import LinearAttention
from qlvit_edge.model.pooling_attention import PoolingAttention, relative_positions
from qlvit_edge.model.qlvit import QLViT

each_variant = pytest.mark.parametrize("variant", PARTS)
POOLING = [variant for variant, parts in PARTS.items() if parts.attention == "pooling"]


def images(config: NetworkConfig, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 255 * torch.rand(count, config.channels, *config.input_size, generator=generator)


def test_the_default_is_the_full_network_and_the_ablation_has_every_variant() -> None:
    assert VARIANTS[0] == "v4"
    assert list(PARTS) == ["mvitv2", "v0", "v1", "v2", "v3", "v4"]
    assert set(PARTS) == set(VARIANTS)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("mvitv2", "v0", {"convolution"}),
        ("v0", "v1", {"convolution", "softmax"}),
        ("v1", "v2", {"quantised"}),
        ("v2", "v3", {"attention", "kv_pool", "norm"}),
        ("v3", "v4", {"channel_mixer"}),
    ],
)
def test_each_step_of_the_ablation_changes_what_the_paper_says(
    before: Variant, after: Variant, changed: set[str]
) -> None:
    old, new = (dataclasses.asdict(PARTS[variant]) for variant in (before, after))
    assert {name for name in old if old[name] != new[name]} == changed


def test_the_baseline_has_the_parameters_of_mvitv2_t() -> None:
    """23.407 M with 4 classes; 23.326 M without the tables of relative positions."""
    cost = count_cost(size_config("paper", variant="mvitv2"))
    assert round(cost.true.parameters / 1e6, 3) == 23.407
    # Tables of 2·max(queries, keys) - 1 entries of 96, for rows and columns of each block.
    sides = [(56, 14), (28, 28), (28, 14), (14, 28), *[(14, 14)] * 4, (7, 14), (7, 7)]
    tables = sum(2 * (2 * max(pair) - 1) * 96 for pair in sides)
    assert tables == 81_408
    assert cost.true.parameters - cost.paper_style.parameters == tables
    network = QLViT(size_config("nano", variant="mvitv2"))
    counted = count_cost(network.config).true.parameters
    assert counted == sum(parameter.numel() for parameter in network.parameters())


@each_variant
def test_paper_style_counts_are_those_of_table_3(variant: Variant) -> None:
    counted = count_cost(size_config("paper", variant=variant)).paper_style
    parameters, macs = TABLE_3[variant]
    if variant == "v1":  # printed with the baseline's counts, though its block has V0's layers
        assert TABLE_3["v1"] == TABLE_3["mvitv2"]
        assert counted == count_cost(size_config("paper", variant="v2")).paper_style
        return
    assert counted.parameters == pytest.approx(parameters * 1e6, rel=0.02)
    assert counted.macs == pytest.approx(macs * 1e9, rel=0.02)


def test_attention_products_and_relative_positions_are_counted_by_hand() -> None:
    config = small_config(variant="mvitv2", input_size=(64, 32))
    block = count_cost(config).parts["pooling attention"].macs
    expected = 0
    width_in, sides = 8, (16, 8)
    for stage, width in enumerate(config.widths):
        head = width // config.heads[stage]
        stride, by = 2 if stage else 1, config.kv_pool[stage]
        queries = (sides[0] // stride) * (sides[1] // stride)
        rows, columns = (math.ceil(side / by) for side in sides)
        tokens, keys = sides[0] * sides[1], rows * columns
        expected += 3 * width_in * width * tokens  # queries, keys and values
        expected += 9 * width * (queries + 2 * keys)  # their pooling
        expected += config.heads[stage] * queries * head * (2 * keys + rows + columns)
        expected += width * width * queries  # projection
        width_in, sides = width, (sides[0] // stride, sides[1] // stride)
    assert block == expected


def test_distances_are_those_of_the_original_network() -> None:
    for queries, keys in [(56, 14), (28, 28), (14, 28), (7, 14), (6, 2), (1, 3), (12, 5)]:
        q_step, k_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
        found = relative_positions(queries, keys)
        assert found.min() >= 0
        assert found.max() <= 2 * max(queries, keys) - 2
        if max(queries, keys) % min(queries, keys) == 0:
            expected = [
                [int(q * q_step - k * k_step + (keys - 1) * k_step) for k in range(keys)]
                for q in range(queries)
            ]
            assert found.tolist() == expected


@pytest.mark.parametrize(("stride", "kv_stride"), [(1, 4), (2, 1), (2, 2)])
def test_pooling_attention_follows_equation_7_with_relative_positions(
    stride: int, kv_stride: int
) -> None:
    torch.manual_seed(0)
    config = small_config(variant="mvitv2")
    attention = PoolingAttention(6, 8, 2, stride, kv_stride, config, (8, 4)).double().eval()
    for table in ("rel_pos_h", "rel_pos_w"):
        torch.nn.init.normal_(attention.get_parameter(table))
    x = torch.randn(2, 6, 8, 4).double()
    query, key, value = attention.pooled(x)
    q_h, q_w = 8 // stride, 4 // stride
    k_h, k_w = 8 // kv_stride, 4 // kv_stride
    assert query.shape[2:] == (q_h, q_w)
    assert key.shape[2:] == value.shape[2:] == (k_h, k_w)
    by_row, by_column = attention.positions()
    maps = []
    for image_head in range(4):
        q, k, v = query[image_head], key[image_head], value[image_head]
        out = torch.empty_like(q)
        for row in range(q_h):
            for column in range(q_w):
                here = q[:, row, column]
                scores = torch.stack(
                    [
                        here @ k[:, r, c] / math.sqrt(4)
                        + here @ by_row[row, r]
                        + here @ by_column[column, c]
                        for r in range(k_h)
                        for c in range(k_w)
                    ]
                )
                out[:, row, column] = v.flatten(1) @ torch.softmax(scores, 0) + here
        maps.append(out)
    expected = attention.project(torch.stack(maps).reshape(2, 8, q_h, q_w))
    torch.testing.assert_close(attention(x), expected)


def test_a_neighbour_is_told_from_a_far_key_by_the_tables_alone() -> None:
    """With keys all alike, only relative positions can tell them apart."""
    attention = PoolingAttention(4, 4, 1, 1, 1, small_config(variant="mvitv2"), (4, 4))
    by_row, _ = attention.positions()
    assert torch.equal(by_row[1, 0], by_row[3, 2])  # one row below
    assert not torch.equal(by_row[1, 0], by_row[2, 0])


@each_variant
def test_every_variant_is_made_of_its_parts(variant: Variant) -> None:
    parts = PARTS[variant]
    network = QLViT(small_config(variant=variant))
    for block in network.blocks:
        attention = LinearAttention if parts.attention == "linear" else PoolingAttention
        assert type(block.attention) is attention
        assert (block.dynamic is None) == (parts.convolution != "dynamic")
        assert (block.convolution is None) == (parts.convolution != "depthwise")
        assert (block.mapping is None) == (parts.convolution == "none")
        assert (block.kan is None) == (parts.channel_mixer != "kan")
        assert (block.mlp is None) == (parts.channel_mixer != "mlp")
    config = network.config
    assert (config.norm, config.softmax, config.kv_pool) == (
        parts.norm,
        parts.softmax,
        parts.kv_pool,
    )


@pytest.mark.parametrize("variant", POOLING)
@pytest.mark.parametrize(
    "changes",
    [{"channels": 1, "input_size": (96, 64)}, {"norm": "batch", "kv_pool": (3, 1, 2, 1)}],
    ids=["grey, rectangular", "BatchNorm, odd pooling"],
)
def test_images_become_logits_and_every_parameter_learns(
    variant: str, changes: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    config = small_config(variant=variant, **changes)
    network = QLViT(config)
    logits = network(images(config))
    assert logits.shape == (3, 4)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_activations_are_rounded_from_v2_on_and_their_range_is_kept_before(variant: str) -> None:
    torch.manual_seed(0)
    network = QLViT(small_config(variant=variant))
    x = images(network.config)
    activation = network.blocks[0].activation
    seen: list[torch.Tensor] = []
    activation.register_forward_hook(lambda _module, _inputs, out: seen.append(out.detach()))
    network(x)
    quantiser = activation.quantiser
    assert float(quantiser.low) == pytest.approx(float(seen[0].min()), abs=0.02)
    assert float(quantiser.high) == pytest.approx(float(seen[0].max()), rel=0.02)
    levels = len(torch.unique(seen[0].mul(1e4).round()))
    assert (levels <= 256) == (variant == "v2")
    weight = network.head.weight()
    assert torch.equal(weight, network.head.linear.weight) == (variant == "v1")


def test_probabilities_are_powers_of_two_from_v1_on() -> None:
    for variant, coded in (("v0", False), ("v1", True)):
        torch.manual_seed(0)
        network = QLViT(small_config(variant=variant)).eval()
        seen: list[torch.Tensor] = []
        attention = network.blocks[0].attention
        attention.value_norm.register_forward_hook(
            lambda _module, _inputs, out: torch.zeros_like(out).index_fill_(3, torch.tensor(0), 1.0)
        )
        attention.project.register_forward_hook(
            lambda _module, inputs, _out, seen=seen: seen.append(inputs[0].detach())
        )
        queries: list[torch.Tensor] = []
        attention.pool_norm.register_forward_hook(
            lambda _module, _inputs, out, queries=queries: queries.append(out.detach())
        )
        network(images(network.config, 1))
        # Values are 1 in the first column of keys (4×4 of them): sums of four probabilities.
        sums = (seen[0] - queries[0]) * 2**15
        whole = bool(((sums - sums.round()).abs() < 0.05).all())
        assert whole == coded, variant


@each_variant
def test_bfloat16_and_channels_last_give_the_logits_of_float32(variant: str) -> None:
    torch.manual_seed(0)
    network = QLViT(small_config(variant=variant)).eval()
    check_modes(network, images(network.config))


@pytest.mark.slow
@each_variant
def test_the_paper_size_gives_the_same_logits_in_bfloat16_and_channels_last(variant: str) -> None:
    torch.manual_seed(0)
    network = QLViT(size_config("paper", variant=variant)).eval()
    check_modes(network, images(network.config, 2))


def check_modes(network: QLViT, x: torch.Tensor) -> None:
    with torch.no_grad():
        network.train()
        network(x)  # ranges and running means
        network.eval()
        exact = network(x)
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            last(x.contiguous(memory_format=torch.channels_last)), exact, rtol=1e-3, atol=1e-3
        )
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x).float()
    assert float((half - exact).norm() / exact.norm()) < 0.1


@each_variant
def test_training_in_bfloat16_keeps_weights_ranges_and_gradients_in_float32(variant: str) -> None:
    torch.manual_seed(0)
    network = QLViT(small_config(variant=variant))
    x = images(network.config, 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(network(x).float(), torch.arange(4))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all(), name
    assert all(b.dtype in (torch.float32, torch.int64) for b in network.buffers())
    assert float(network.head.quantiser.high) > 0


@pytest.fixture
def compiled(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile needs a C++ compiler; there is no g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    yield torch.compile
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_forward_of_the_paper_size_gives_the_same_logits(
    compiled: Callable[..., Any],
) -> None:
    torch.manual_seed(0)
    network = QLViT(size_config("paper", softmax="float")).eval()
    x = images(network.config, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(network, fullgraph=True)(x), network(x), rtol=0.02, atol=0.02
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@each_variant
def test_every_variant_is_traced_whole_forward_and_backward(variant: str) -> None:
    """Without a compiler of C++: what `torch.compile` hands to it, run as it is."""
    torch.manual_seed(0)
    network = QLViT(small_config(variant=variant, softmax="float"))
    torch._dynamo.reset()
    check_compiled(network, functools.partial(torch.compile, backend="aot_eager"))


def check_compiled(network: QLViT, compile_network: Callable[..., Any]) -> None:
    x = images(network.config, 2)
    twin = copy.deepcopy(network)
    ran = compile_network(twin, fullgraph=True)
    for train in (True, False):
        network.train(train)
        twin.train(train)
        exact, found = network(x), ran(x)
        torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)
        labels = torch.tensor([0, 1])
        for logits in (exact, found):
            torch.nn.functional.cross_entropy(logits, labels).backward()
    ours, theirs = (
        torch.cat([p.grad.flatten() for p in n.parameters() if p.grad is not None])
        for n in (network, twin)
    )
    assert float(torch.nn.functional.cosine_similarity(ours, theirs, 0)) > 0.99


def test_a_mixed_kernel_is_chosen_in_float32_also_under_autocast() -> None:
    torch.manual_seed(0)
    dynamic = DynamicConv(8, 4, "log2")
    pooled = torch.randn(64, 8) * 30
    with torch.autocast("cpu", torch.bfloat16):
        under = dynamic.attention(pooled)
    assert under.dtype == torch.float32
    assert torch.equal(under, dynamic.attention(pooled))


def test_a_run_of_an_older_version_is_what_it_was() -> None:
    """Its run.json names every field but the variants' newer ones; norms were BatchNorm."""
    fields = {"size": "nano", "input_size": [96, 96], "widths": [24, 48, 96, 192]}
    for variant in ("v3", "v4"):
        config = NetworkConfig.model_validate(
            {**fields, "depths": [1, 1, 2, 1], "variant": variant}
        )
        assert (config.norm, config.softmax, config.kv_pool) == ("batch", "log2", (1, 1, 1, 1))
    assert NetworkConfig.model_validate(
        {**fields, "depths": [1, 1, 2, 1], "variant": "v2", "norm": "batch"}
    ).norm == "batch"  # fmt: skip
