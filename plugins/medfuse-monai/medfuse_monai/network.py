"""Build: a network of MONAI without its classifier -> feature map.

This file is copied into bundles, so it imports torch and monai alone.
"""

from __future__ import annotations

from typing import Any

from monai.networks import nets
from torch import Tensor, nn


class MonaiResNet(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *spatial)``.

    Args:
        model: ``resnet10``, ``resnet18``, ``resnet34`` or ``resnet50``.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        options: further keywords of MONAI's builder.
    """

    net: Any

    def __init__(self, model: str, spatial_dims: int, in_channels: int, **options: Any) -> None:
        super().__init__()
        builder = getattr(nets, model)
        shape = {"spatial_dims": spatial_dims, "n_input_channels": in_channels}
        self.net = builder(pretrained=False, progress=False, feed_forward=False, **shape, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; MONAI's own vector is its average."""
        net = self.net
        x = net.act(net.bn1(net.conv1(x)))
        if not net.no_max_pool:
            x = net.maxpool(x)
        return net.layer4(net.layer3(net.layer2(net.layer1(x)))), None


class MonaiDenseNet(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *spatial)``.

    Args:
        model: ``DenseNet121``, ``DenseNet169`` or ``DenseNet201``.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        options: further keywords of MONAI's class.
    """

    net: Any

    def __init__(self, model: str, spatial_dims: int, in_channels: int, **options: Any) -> None:
        super().__init__()
        shape = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": 1}
        self.net = getattr(nets, model)(**shape, **options)
        self.relu = self.net.class_layers.relu
        del self.net.class_layers

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; MONAI's own vector is its average."""
        return self.relu(self.net.features(x)), None


class MonaiSEResNet(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *spatial)``.

    Args:
        model: ``SEResNet50``.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        options: further keywords of MONAI's class.
    """

    net: Any

    def __init__(self, model: str, spatial_dims: int, in_channels: int, **options: Any) -> None:
        super().__init__()
        shape = {"spatial_dims": spatial_dims, "in_channels": in_channels, "num_classes": 1}
        self.net = getattr(nets, model)(**shape, **options)
        del self.net.last_linear

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; MONAI's own vector is its average."""
        return self.net.features(x), None


class MonaiEfficientNet(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *spatial)``.

    Args:
        model: ``efficientnet-b0`` to ``efficientnet-b7``.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        options: further keywords of ``EfficientNetBN``.
    """

    net: Any

    def __init__(self, model: str, spatial_dims: int, in_channels: int, **options: Any) -> None:
        super().__init__()
        shape = {"spatial_dims": spatial_dims, "in_channels": in_channels, "num_classes": 1}
        builder: Any = nets.EfficientNetBN  # type: ignore[attr-defined]
        self.net = builder(model, pretrained=False, **shape, **options)
        self.net.set_swish(memory_efficient=False)  # the other one cannot be traced
        del self.net._fc

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; MONAI's own vector is its average."""
        net = self.net
        x = net._swish(net._bn0(net._conv_stem(net._conv_stem_padding(x))))
        x = net._conv_head(net._conv_head_padding(net._blocks(x)))
        return net._swish(net._bn1(x)), None
