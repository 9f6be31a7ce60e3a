"""Build: the networks of TorchXRayVision without their classifier -> feature map.

They are torchvision's with one gray channel, and their keys are torchvision's too. This file is
copied into bundles, so it imports torch and torchvision alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torchvision import models


class XrvDenseNet(nn.Module):
    """``(map (N, 1024, h, w), None)`` of gray images ``(N, 1, H, W)``: a DenseNet-121."""

    net: Any

    def __init__(self) -> None:
        super().__init__()
        self.net = models.densenet121(weights=None)
        self.net.features.conv0 = _gray_stem()
        del self.net.classifier

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; TorchXRayVision's own vector is its average."""
        return functional.relu(self.net.features(x)), None


class XrvResNet(nn.Module):
    """``(map (N, 2048, h, w), None)`` of gray images ``(N, 1, H, W)``: a ResNet-50."""

    net: Any

    def __init__(self) -> None:
        super().__init__()
        self.net = models.resnet50(weights=None)
        self.net.conv1 = _gray_stem()
        del self.net.fc

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; TorchXRayVision's own vector is its average."""
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x)))), None


def _gray_stem() -> nn.Conv2d:
    return nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
