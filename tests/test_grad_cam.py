"""Grad-CAM of a checkpoint, and the class maps that have its slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_run import CLASSES, cell_image, settled_network, small_config, write_folder, write_run

from qlvit_edge.model.family import FAMILY
from qlvit_edge.preprocess import preprocess
from qlvit_edge.training.checkpoint import Checkpoint, load_checkpoint
from qlvit_edge.training.grad_cam import GradCam, class_maps

captum = pytest.importorskip("captum")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "run", write_folder(root / "data", 4), small_config(norm="layer"))
    return load_checkpoint(root / "run")


def test_a_class_map_is_grad_cam_but_for_a_constant_and_a_factor(run: Checkpoint) -> None:
    image = cell_image(2, 1)
    pixels = preprocess(image, run.run.network.input_size)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    (maps,) = class_maps(run.network, batch)
    grad_cam = GradCam(run)
    for label, own in zip(CLASSES, maps, strict=True):
        found = grad_cam.explain(image, label)
        positions = own.size * found.positions
        np.testing.assert_allclose(
            own - own.mean(), positions - positions.mean(), atol=1e-3 * np.ptp(own)
        )
        assert np.ptp(own) > 0
    answered = grad_cam.explain(image)
    chances = run.network(batch).softmax(1)[0].detach().numpy()
    assert answered.label == CLASSES[chances.argmax()]
    assert answered.probability == pytest.approx(chances.max(), abs=1e-5)
    np.testing.assert_array_equal(
        answered.positions, grad_cam.explain(image, answered.label).positions
    )
    with pytest.raises(ValueError, match="BASOPHIL"):
        grad_cam.explain(image, "BASOPHIL")


@pytest.mark.parametrize("member", ["v4", "mvitv2", "grey"])
def test_the_means_of_class_maps_are_the_logits_of_each_image(member: str) -> None:
    config = small_config(**FAMILY[member])
    network = settled_network(config)
    images = [cell_image(label, 7)[..., : config.channels] for label in range(3)]
    batch = torch.stack(
        [torch.from_numpy(image[:64, :64].copy()).permute(2, 0, 1).float() for image in images]
    )
    maps = class_maps(network, batch)
    assert maps.shape == (3, 4, 2, 2)
    logits = network(batch).detach().numpy()
    np.testing.assert_allclose(maps.mean((2, 3)), logits, atol=1e-4)
    alone = class_maps(network, batch[1:2])
    np.testing.assert_allclose(alone[0], maps[1], atol=1e-3)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_map_is_largest_where_the_network_reads_the_class() -> None:
    """A head that reads one channel, which only one position of the map has."""
    network = settled_network(small_config())

    class OnePosition(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(x)
            out[:, 0, 1, 0] = 1
            return x * 0 + out

    network.blocks.append(OnePosition())
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.weight[2, 0] = 1
        network.head.norm.weight.abs_()
        network.head.norm.weight[0] = 1
        network.head.quantiser.enabled = False
    (maps,) = class_maps(network, torch.zeros(1, 3, 64, 64))
    assert np.unravel_index(maps[2].argmax(), (2, 2)) == (1, 0)
    assert np.ptp(maps[[0, 1, 3]], (1, 2)).max() == 0
