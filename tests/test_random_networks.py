"""Random members of the family: the file is its specification, the float graph its network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import both_kernels
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from random_networks import configs, observed, random_network, random_views
from small_run import small_config

from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.proof.audit import audit
from qlvit_edge.converters.reference import run_reference
from qlvit_edge.converters.safe_products import require_safe_products
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.child import run_in_child
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.model.configs import NetworkConfig
from qlvit_edge.model.quantisers import UniformQuantiser
from qlvit_edge.training.varying import to_input

SEEDS = st.integers(0, 2**31)
FORMS: st.SearchStrategy[Form] = st.sampled_from(["fast", "exact"])


@pytest.fixture(scope="module", autouse=True)
def _children_find_the_helpers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(both_kernels.__file__).parent))
        yield


def _file_is_the_specification(config: NetworkConfig, seed: int, form: Form) -> None:
    """At every tensor, on the default and on the reference kernels."""
    network = random_network(config, seed)
    ranges, anchors = observed(network, seed)
    writer = Writer("net", Int8(ScaleTable(ranges, anchors), form))
    graph = one_arithmetic(lower(network, writer)).graph
    require_safe_products(graph)
    model = write_tflite(graph)
    audit(model)
    # Other views than those the ranges come from: values saturate too.
    views = random_views(config, seed + 1, 5)
    # The reference kernels end the process on what they do not expect.
    for found in run_in_child("random network", both_kernels.compare_kernels, graph, model, views):
        assert found.unequal == {}
        assert found.tensors > 100
    on_arm64, on_x86 = (
        run_reference(graph, {"image": views}, arithmetic=arithmetic, keep_all=True)
        for arithmetic in ("xnnpack-arm64", "xnnpack")
    )
    for name, values in on_x86.items():
        np.testing.assert_array_equal(on_arm64[name], values)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(configs(), SEEDS, FORMS)
def test_a_file_is_its_specification_at_every_tensor(
    config: NetworkConfig, seed: int, form: Form
) -> None:
    _file_is_the_specification(config, seed, form)


@pytest.mark.slow
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configs(), SEEDS, FORMS)
def test_many_files_are_their_specifications_at_every_tensor(
    config: NetworkConfig, seed: int, form: Form
) -> None:
    _file_is_the_specification(config, seed, form)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(configs(), SEEDS)
def test_the_float_graph_of_any_member_computes_what_the_network_computes(
    config: NetworkConfig, seed: int
) -> None:
    config = config.model_copy(update={"softmax": "float"})
    network = random_network(config, seed)
    for module in network.modules():
        if isinstance(module, UniformQuantiser):
            module.enabled = False
    run = Interpreter(write_tflite(lower(network, Writer("twin", Float("float")))))
    for view in random_views(config, seed + 1, 4):
        with torch.no_grad():
            expected = network(to_input(view[None], torch.device("cpu"))).numpy()
        got = run.invoke(view[None].astype(np.float32))
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_one_kernel_mixes_to_itself(kernels: int, form: Form) -> None:
    """K = 1 is no special case: calibration names the tensors that the integer graph asks for."""
    _file_is_the_specification(small_config(dynamic_kernels=kernels), 0, form)


@pytest.mark.parametrize(
    "changes",
    [{"widths": (8, 16, 2, 32)}, {"kan_rank": 1}],
)
def test_a_layer_norm_over_one_channel_is_refused(changes: dict[str, object]) -> None:
    """It is constant, whatever it is shown; XNNPACK refuses such a file besides."""
    small_config(**changes)
    with pytest.raises(ValidationError, match="two channels or more"):
        small_config(norm="layer", **changes)
    if "kan_rank" in changes:
        small_config(norm="layer", variant="v3", **changes)
