"""Adapt: a canonical image to what weights expect, inside the network.

This file is copied into every bundle, so it imports torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Adapter(nn.Module):
    """Resized, channel-adapted and normalized image ``(N, channels, *size)``.

    The canonical image is ``(N, C, *image_size)`` in [0, 1]. Resizing multiplies each axis by a
    fixed matrix, the antialiased one of torch, so that traced graphs and ONNX express it exactly.

    Args:
        channels: what the backbone takes. One image channel is repeated, several are averaged
            into one; any other change is refused.
        mean: subtracted after scaling to ``input_range``; one value per channel, or one for all.
        std: divided by; one value per channel, or one for all.
        input_range: intensities the weights expect before mean and std.
        per_image: take each image's own mean and standard deviation per channel instead.
        color_order: ``RGB`` or ``BGR``, the order of three channels that the weights expect.
        image_size: spatial size of the canonical image; needed for resizing alone.
        size: spatial size the backbone gets; ``None`` leaves the image as it is.
        interpolation: ``nearest``, ``bilinear`` (along every axis) or ``bicubic``.
    """

    mean: Tensor
    std: Tensor

    def __init__(  # noqa: PLR0913 - a bundle's configuration states them one by one
        self,
        channels: int,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        input_range: Sequence[float] = (0.0, 1.0),
        per_image: bool = False,
        color_order: str = "RGB",
        image_size: Sequence[int] | None = None,
        size: Sequence[int] | None = None,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        if color_order not in ("RGB", "BGR") or (color_order == "BGR" and channels != 3):
            raise ValueError(f"color order {color_order!r} with {channels} channels")
        self.channels = channels
        self.low, self.high = map(float, input_range)
        self.per_image = per_image
        self.reverse = color_order == "BGR"
        self.register_buffer("mean", _per_channel(mean, channels, "mean"))
        self.register_buffer("std", _per_channel(std, channels, "std"))
        if bool((self.std == 0).any()):
            raise ValueError(f"std is {list(std)}, expected values other than 0")
        self.alike = len(set(mean)) == len(set(std)) == 1
        self.resize = _resize(image_size, size, interpolation)

    def forward(self, image: Tensor) -> Tensor:
        """Return what the backbone takes."""
        x: Tensor = self.resize(image)
        if self.channels == 1:
            x = x.mean(1, keepdim=True)
        x = x * (self.high - self.low) + self.low
        if self.alike and not self.per_image:
            # Before one channel becomes three: a third of the work, and the same numbers.
            return self._in_all_channels((x - self.mean[0]) / self.std[0])
        x = self._in_all_channels(x)
        if self.per_image:
            return _standardized(x)
        shape = (1, self.channels) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def _in_all_channels(self, x: Tensor) -> Tensor:
        # One channel is repeated; `expand` refuses any other change.
        x = x.expand(-1, self.channels, *(-1,) * (x.ndim - 2))
        return x.flip(1) if self.reverse else x


class Resize(nn.Module):
    """Image ``(N, C, *size)`` from one of ``(N, C, *image_size)``.

    Args:
        image_size: spatial size that comes in.
        size: spatial size that comes out.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; the latter is clamped to [0, 1],
            as image libraries do.
    """

    def __init__(
        self, image_size: Sequence[int], size: Sequence[int], interpolation: str = "bilinear"
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        self.clamped = interpolation == "bicubic"
        self.axes = [a for a, (i, o) in enumerate(zip(image_size, size, strict=True)) if i != o]
        for axis in self.axes:
            matrix = _resize_matrix(image_size[axis], size[axis], interpolation)
            self.register_buffer(f"matrix{axis}", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the resized image."""
        if not _is_tracing() and tuple(x.shape[2:]) != self.image_size:
            found = " x ".join(map(str, x.shape[2:]))
            expected = " x ".join(map(str, self.image_size))
            raise ValueError(f"image is {found}, expected {expected}")
        for axis in self.axes:
            matrix = self.get_buffer(f"matrix{axis}")
            x = functional.linear(x.transpose(axis + 2, -1), matrix).transpose(axis + 2, -1)
        return x.clamp(0.0, 1.0) if self.clamped else x


def _is_tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _resize(
    image_size: Sequence[int] | None, size: Sequence[int] | None, interpolation: str
) -> nn.Module:
    if size is None or image_size is None or tuple(size) == tuple(image_size):
        return nn.Identity()
    return Resize(image_size, size, interpolation)


def _resize_matrix(before: int, after: int, interpolation: str) -> Tensor:
    """Return ``(after, before)``: torch's own resizing of the identity, one axis at a time."""
    identity = torch.eye(before, device="cpu").view(1, 1, before, before)
    size = (before, after)
    if interpolation == "nearest":
        columns = functional.interpolate(identity, size=size, mode="nearest-exact")
    else:
        mode = "bicubic" if interpolation == "bicubic" else "bilinear"
        columns = functional.interpolate(identity, size=size, mode=mode, antialias=True)
    return columns.view(before, after).T.contiguous()


def _standardized(x: Tensor) -> Tensor:
    axes = tuple(range(2, x.ndim))
    centered = x - x.mean(axes, keepdim=True)
    std = centered.square().mean(axes, keepdim=True).sqrt()
    return centered / torch.where(std > 1e-6, std, torch.ones_like(std))


def _per_channel(values: Sequence[float], channels: int, name: str) -> Tensor:
    if len(values) not in (1, channels):
        raise ValueError(f"{name} has {len(values)} values, expected 1 or {channels}")
    row = torch.tensor(list(values), dtype=torch.float32, device="cpu")
    return row.expand(channels).clone()
