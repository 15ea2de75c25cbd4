"""The float graph is the network, and the integer graph is its file, tensor by tensor."""

import numpy as np
import pytest
import torch
from small_run import cell_image, settled_network, small_config
from torch import nn

from qlvit_edge.converters.idioms.numerics import Float, Int8
from qlvit_edge.converters.idioms.scales import ScaleRequests, ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.proof.equality import Specification, compare_tensors
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.errors import CalibrationError, ConversionError
from qlvit_edge.inference.interpreter import Interpreter
from qlvit_edge.model.kan import LinearKANLayer
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.model.quantisers import UniformQuantiser


def _views(count: int, size: tuple[int, int]) -> np.ndarray:
    import cv2

    height, width = size
    return np.stack([cv2.resize(cell_image(i % 4, i), (width, height)) for i in range(count)])


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_float_graph_computes_what_the_network_computes(size: tuple[int, int]) -> None:
    network = settled_network(small_config(softmax="float", input_size=size))
    for module in network.modules():
        if isinstance(module, UniformQuantiser):
            module.enabled = False
    graph = lower(network, Writer("twin", Float("float")))
    interpreter = Interpreter(write_tflite(graph))
    for view in _views(4, size):
        with torch.no_grad():
            image = torch.from_numpy(view).permute(2, 0, 1)[None].float()
            expected = network(image).numpy()
        np.testing.assert_allclose(
            interpreter.invoke(view[None].astype(np.float32)), expected, rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("arithmetic", ["xnnpack", "reference"])
@pytest.mark.parametrize("form", ["fast", "exact"])
def test_every_tensor_of_the_file_equals_the_integer_specification(
    form: str, arithmetic: Specification
) -> None:
    config = small_config()
    network = settled_network(config)
    graph = lower(network, Writer("net", Int8(ScaleRequests((-8.0, 8.0), 3), form)))
    result = compare_tensors(graph, write_tflite(graph), _views(5, config.input_size), arithmetic)
    assert result.unequal == {}
    assert result.tensors > 150
    assert all(len(np.unique(output)) > 1 for output in result.outputs)


class _OwnBasis(LinearKANLayer):
    """A KAN layer of the user's own."""


def test_a_foreign_module_is_refused_by_name_before_any_work() -> None:
    config = small_config()
    with_own_basis = QLViT(config).eval()
    with_own_basis.blocks[0].kan.down = _OwnBasis(8, 4, config)  # type: ignore[union-attr]
    with_gelu = QLViT(small_config(variant="v3")).eval()
    with_gelu.blocks[1].mlp.activation = nn.GELU()  # type: ignore[union-attr]
    for network, finding in (
        (with_own_basis, r"^blocks\.0\.kan\.down: _OwnBasis has no integer lowering"),
        (with_gelu, r"^blocks\.1\.mlp\.activation: GELU has no integer lowering"),
    ):
        writer = Writer("twin", Float())
        with pytest.raises(ConversionError, match=finding):
            lower(network, writer)
        assert writer.inputs == []


def test_a_tensor_without_a_range_is_named() -> None:
    network = QLViT(small_config()).eval()
    with pytest.raises(CalibrationError, match="stem"):
        lower(network, Writer("net", Int8(ScaleTable())))
