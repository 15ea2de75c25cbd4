"""Networks of other families, from `transformers`, at the sizes that fit a small input.

What is not said here is as `transformers` has it. Attention is written out (`eager`), so that its
products are counted and exported as what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from contest.members import LAYER_NORM_RATE, RATE, Member
from qlvit_edge.errors import MissingExtraError
from qlvit_edge.model.stem import IMAGE_MEAN, IMAGE_STD


class Normalised(nn.Module):
    """A network of `transformers` that takes pixels as ours do.

    Input: (B, 3, H, W), values 0…255; output: logits (B, classes).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        """Normalise what ``network`` is given by the mean and deviation of ImageNet."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(IMAGE_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(IMAGE_STD).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.network((image - self.mean) / self.std).logits
        return logits


def resnet_18(side: int, classes: int) -> nn.Module:
    """Return ResNet-18 (He et al. 2016)."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=classes,
    )
    return ResNetForImageClassification(config)


def regnet_y_400mf(side: int, classes: int) -> nn.Module:
    """Return RegNetY-400MF (Radosavovic et al. 2020)."""
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(
        hidden_sizes=[48, 104, 208, 440],
        depths=[1, 3, 6, 6],
        groups_width=8,
        num_labels=classes,
    )
    return RegNetForImageClassification(config)


def mobilenet_v2(side: int, classes: int) -> nn.Module:
    """Return MobileNetV2 at full width (Sandler et al. 2018)."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(image_size=side, num_labels=classes, classifier_dropout_prob=0.2)
    return MobileNetV2ForImageClassification(config)


def vit_tiny(side: int, classes: int) -> nn.Module:
    """Return ViT-tiny (Touvron et al. 2021) with 8×8 tokens at any input size."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=side,
        patch_size=side // 8,
        num_labels=classes,
        attn_implementation="eager",
    )
    return ViTForImageClassification(config)


def swin_small(side: int, classes: int) -> nn.Module:
    """Return a Swin transformer (Liu et al. 2021) with Swin-T's depths and half its width.

    Its windows are the size of the last stage's map, as in Swin-T at 224 pixels.
    """
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=side,
        embed_dim=48,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=side // 32,
        drop_path_rate=0.0,
        num_labels=classes,
        attn_implementation="eager",
    )
    return SwinForImageClassification(config)


def convnext_femto(side: int, classes: int) -> nn.Module:
    """Return a ConvNeXt (Liu et al. 2022) of femto's widths and depths."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=[48, 96, 192, 384], depths=[2, 2, 6, 2], image_size=side, num_labels=classes
    )
    return ConvNextForImageClassification(config)


_Maker = Callable[[int, int], nn.Module]
PEERS: Mapping[str, tuple[str, _Maker, float]] = {
    "resnet18": ("ResNet-18", resnet_18, RATE),
    "regnet": ("RegNetY-400MF", regnet_y_400mf, RATE),
    "mobilenetv2": ("MobileNetV2", mobilenet_v2, RATE),
    "vit": ("ViT-tiny", vit_tiny, LAYER_NORM_RATE),
    "swin": ("Swin, half of tiny's width", swin_small, LAYER_NORM_RATE),
    "convnext": ("ConvNeXt-femto", convnext_femto, LAYER_NORM_RATE),
}


def peer(name: str, side: int, classes: int) -> Member:
    """Return a network of another family.

    Args:
        name: a key of `PEERS`.
        side: of its square input, in pixels: a multiple of 32.
        classes: of its output.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            name, "needs the package transformers", "make the environment with `make peers-env`"
        ) from None
    shown, maker, rate = PEERS[name]
    return Member(shown, lambda: Normalised(maker(side, classes)), rate)
