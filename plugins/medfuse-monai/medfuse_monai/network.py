"""Build: a network of MONAI without its classifier -> feature map.

This file is copied into bundles, so it imports torch and monai alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks import nets
from monai.networks.nets.swin_unetr import SwinTransformer
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


class MonaiViT(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *img_size)``.

    Args:
        model: ``ViT``.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        img_size: spatial size of the image, in multiples of ``patch_size``; 224 x 224 or
            96 x 96 x 96 by default.
        patch_size: pixels of a token along each axis.
        options: further keywords of MONAI's class.
    """

    net: Any

    def __init__(
        self,
        model: str,
        spatial_dims: int,
        in_channels: int,
        img_size: Sequence[int] | None = None,
        patch_size: int = 16,
        **options: Any,
    ) -> None:
        super().__init__()
        size = tuple(img_size or (96 if spatial_dims == 3 else 224,) * spatial_dims)
        if len(size) != spatial_dims or any(pixels % patch_size for pixels in size):
            expected = f"{spatial_dims} multiples of {patch_size}"
            raise ValueError(f"img_size is {list(size)}, expected {expected}")
        shape = {"spatial_dims": spatial_dims, "in_channels": in_channels}
        self.net = getattr(nets, model)(
            img_size=size, patch_size=patch_size, classification=False, **shape, **options
        )
        self.grid = tuple(pixels // patch_size for pixels in size)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map: the tokens behind the last normalization, on their grid."""
        net = self.net
        tokens = net.patch_embedding(x)
        for block in net.blocks:
            tokens = block(tokens)
        tokens = net.norm(tokens).transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], *self.grid), None


class MonaiSwin(nn.Module):
    """``(map (N, F, *grid), None)`` of images ``(N, in_channels, *spatial)``.

    The map is the last stage as SwinUNETR's decoder sees it: each position normalized.

    Args:
        model: ``SwinTransformer``, the encoder of SwinUNETR.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        options: further keywords of MONAI's class, over those of SwinUNETR with 48 features.
    """

    net: Any

    def __init__(self, model: str, spatial_dims: int, in_channels: int, **options: Any) -> None:
        super().__init__()
        if model != SwinTransformer.__name__:
            raise ValueError(f"model is {model!r}, expected {SwinTransformer.__name__!r}")
        keywords = {
            "embed_dim": 48,
            "window_size": (7,) * spatial_dims,
            "patch_size": (2,) * spatial_dims,
            "depths": (2, 2, 2, 2),
            "num_heads": (3, 6, 12, 24),
            **options,
        }
        self.net = SwinTransformer(in_chans=in_channels, spatial_dims=spatial_dims, **keywords)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map of the last stage."""
        net = self.net
        x = net.pos_drop(net.patch_embed(x))
        for stages in (net.layers1, net.layers2, net.layers3, net.layers4):
            x = stages[0](x.contiguous())
        return net.proj_out(x, True), None
