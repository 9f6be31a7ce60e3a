"""The steps to the canonical image that MONAI has no transform for.

This file is copied into every bundle, so it imports numpy, torch and monai alone. Each class is a
dictionary transform on channel-first images ``(C, *spatial)`` and gives the same values whether
MONAI tracks metadata or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.spatial.array import Resize
from monai.transforms.transform import MapTransform
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


class SqueezeTo2Dd(MapTransform):
    """``(C, H, W, 1)`` becomes ``(C, H, W)``: volumes of one slice, as some hosts hand 2D over."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with 2D images.

        Raises:
            ValueError: the image has more than one slice.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if image.ndim == 4 and image.shape[-1] == 1:
                image = image[..., 0]
            if image.ndim != 3:
                raise ValueError(f"found an image {tuple(image.shape)}, expected one 2D image.")
            result[key] = image
        return result


class ScaleToUnitd(MapTransform):
    """Stored intensities become [0, 1] by two bounds; what lies outside is cut off.

    Args:
        keys: of the images.
        window: lower and upper bound in stored units, for example Hounsfield units.
        percentiles: the bounds are these percentiles of each image, over all its channels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        window: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys)
        if (window is None) == (percentiles is None):
            raise ValueError("give either window or percentiles")
        self.window = window
        self.percentiles = percentiles

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with scaled images; an image of one value becomes 0."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = torch.as_tensor(result[key]).float()
            low, high = self._bounds(image)
            width = high - low
            scaled = (image - low) / width if width > 0 else torch.zeros_like(image)
            result[key] = scaled.clamp(0.0, 1.0)
        return result

    def _bounds(self, image: Tensor) -> tuple[float, float]:
        if self.window is not None:
            return float(self.window[0]), float(self.window[1])
        values = np.asarray(image.detach().cpu())
        low, high = np.percentile(values, np.asarray(self.percentiles))
        return float(low), float(high)


class ToChannelsd(MapTransform):
    """Images get the wished number of channels: gray by luma (ITU-R BT.601), RGB by repeating.

    Args:
        keys: of the images.
        channels: 1 or 3.
    """

    def __init__(self, keys: KeysCollection, channels: int) -> None:
        super().__init__(keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with ``channels`` channels.

        Raises:
            ValueError: the image has neither 1 nor 3 channels.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            if image.shape[0] not in (1, 3):
                raise ValueError(f"found {image.shape[0]} channels, expected 1 or 3.")
            if image.shape[0] == 3 and self.channels == 1:
                image = LUMA[0] * image[0:1] + LUMA[1] * image[1:2] + LUMA[2] * image[2:3]
            elif image.shape[0] == 1 and self.channels == 3:
                image = image.repeat(3, *[1] * (image.ndim - 1))
            result[key] = image
        return result


class Letterboxd(MapTransform):
    """The image fits into the size with its proportions kept, centered on black.

    Args:
        keys: of the images.
        spatial_size: rows and columns.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int]) -> None:
        super().__init__(keys)
        self.spatial_size = tuple(int(size) for size in spatial_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with images of ``spatial_size``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            found = image.shape[1:]
            scale = min(t / f for t, f in zip(self.spatial_size, found, strict=True))
            inner = [max(1, round(f * scale)) for f in found]
            inner = [min(i, t) for i, t in zip(inner, self.spatial_size, strict=True)]
            resize = Resize(inner, mode="bilinear", anti_aliasing=True)
            result[key] = self._centered(resize(image))
        return result

    def _centered(self, image: Tensor) -> Tensor:
        padding: list[int] = []
        for size, found in zip(reversed(self.spatial_size), reversed(image.shape[1:]), strict=True):
            before = (size - found) // 2
            padding += [before, size - found - before]
        return torch.nn.functional.pad(image, padding)


class RequireUnitd(MapTransform):
    """The image leaves as float32, or not at all if it is not finite and within [0, 1]."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data as it came.

        Raises:
            ValueError: a host replaced the reader and handed over unscaled intensities.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key].float()
            low, high = float(image.min()), float(image.max())
            if not (low >= -1e-3 and high <= 1.001):
                raise ValueError(
                    f"intensities go from {low:g} to {high:g} after preprocessing, expected "
                    "[0, 1]. Read the file through the bundle's own reader."
                )
            result[key] = image.clamp(0.0, 1.0)
        return result
