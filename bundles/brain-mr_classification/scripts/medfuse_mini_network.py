"""The embedded networks: timm architectures with one input channel and without their heads.

This file is copied into bundles; it imports torch and timm only.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn


class MiniBackbone(nn.Module):
    """A network from gray images ``(N, 1, H, W)`` to ``(map (N, F, h, w), pooled (N, P))``.

    The pooled vector joins the means of three stages: fine structure that the last map has lost
    helps classifiers of medical images.

    Args:
        architecture: name of a timm model.
        options: keywords for ``timm.create_model``.
        steps: submodules that are called one after the other.
        pooled: those whose outputs are averaged into the vector, the last step among them.
    """

    def __init__(
        self,
        architecture: str,
        options: dict[str, Any],
        steps: tuple[str, ...],
        pooled: tuple[str, ...],
    ):
        super().__init__()
        self.network: nn.Module = timm.create_model(
            architecture, pretrained=False, num_classes=0, in_chans=1, **options
        )
        self.steps, self.pooled = steps, pooled

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last map and the means of three stages."""
        x, means = image, []
        for name in self.steps:
            x = self.network.get_submodule(name)(x)
            if name in self.pooled:
                means.append(x.mean(dim=(2, 3)))
        return x, torch.cat(means, dim=1)


class MiniDenseNet(MiniBackbone):
    """A short DenseNet: eleven dense layers of growth 32 in four blocks; F = 220, P = 516.

    Huang et al. 2017, doi 10.1109/CVPR.2017.243.
    """

    def __init__(self) -> None:
        options = {"growth_rate": 32, "block_config": (1, 2, 4, 4)}
        first = ("conv0", "norm0", "pool0", "denseblock1", "transition1", "denseblock2")
        last = ("transition2", "denseblock3", "transition3", "denseblock4", "norm5")
        steps = tuple(f"features.{name}" for name in first + last)
        pooled = ("features.denseblock2", "features.denseblock3", "features.norm5")
        super().__init__("densenet121", options, steps, pooled)


class MiniResNet(MiniBackbone):
    """A thin residual network: four basic blocks, deep stem; F = 256, P = 416.

    He et al. 2016, doi 10.1109/CVPR.2016.90; the stem of He et al. 2019,
    doi 10.1109/CVPR.2019.00065.
    """

    def __init__(self) -> None:
        options = {
            "layers": (1, 1, 1, 1),
            "channels": (24, 48, 112, 256),
            "stem_type": "deep",
            "stem_width": 12,
        }
        steps = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        super().__init__("resnet18", options, steps, ("layer2", "layer3", "layer4"))
