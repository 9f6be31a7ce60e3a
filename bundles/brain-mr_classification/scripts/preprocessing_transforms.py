"""The steps to the canonical image that MONAI has no transform for.

This file is copied into every bundle, so it imports numpy, torch and monai alone. Each class is a
dictionary transform on channel-first images ``(C, *spatial)`` and gives the same values whether
MONAI tracks metadata or not. What it cuts off or shrinks it tells: to the list of ``(code,
detail)`` under ``events`` where the data have one, else to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.spatial.array import Resize
from monai.transforms.transform import MapTransform
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
EVENTS = "events"
MARGIN_CUT = "MARGIN_CUT"
SHRUNK_TO_FIT = "SHRUNK_TO_FIT"

_logger = logging.getLogger(__name__)


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
        windows: several of them; each becomes a channel of an image of one.
        percentiles: the bounds are these percentiles of each image, over all its channels.
        deviations: the bounds are the mean of each image less and plus so many of its standard
            deviations.
        foreground: percentiles, mean and deviation are those of the foreground; see `foreground`.
    """

    def __init__(  # noqa: PLR0913 - a bundle's configuration states them one by one
        self,
        keys: KeysCollection,
        window: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
        *,
        windows: Sequence[Sequence[float]] | None = None,
        deviations: float | None = None,
        foreground: str | float | None = None,
    ) -> None:
        super().__init__(keys)
        if sum(given is not None for given in (window, windows, percentiles, deviations)) != 1:
            raise ValueError("give one of window, windows, percentiles and deviations")
        self.windows = [window] if window is not None else windows
        self.percentiles = percentiles
        self.deviations = deviations
        self.foreground = foreground

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with scaled images; an image of one value becomes 0.

        Raises:
            ValueError: several windows, and an image of several channels.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = torch.as_tensor(result[key]).float()
            bounds = self._bounds(image)
            if len(bounds) > 1 and image.shape[0] != 1:
                raise ValueError(f"found {image.shape[0]} channels, expected 1 for windows.")
            scaled = [_to_unit(image, low, high) for low, high in bounds]
            result[key] = torch.cat(scaled) if len(scaled) > 1 else scaled[0]
        return result

    def _bounds(self, image: Tensor) -> list[tuple[float, float]]:
        if self.windows is not None:
            return [(float(low), float(high)) for low, high in self.windows]
        values = np.asarray(image.detach().cpu())
        if self.foreground is not None:
            inside = values[np.asarray(foreground(image, self.foreground).cpu())]
            values = inside if inside.size else values
        if self.percentiles is not None:
            low, high = np.percentile(values, np.asarray(self.percentiles))
            return [(float(low), float(high))]
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        reach = float(self.deviations or 0) * (std if std > 1e-6 * abs(mean) else 0.0)
        return [(mean - reach, mean + reach)]


class CropToForegroundd(MapTransform):
    """The smallest box around the foreground of any channel; the whole image if there is none.

    Args:
        keys: of the images.
        above: see `foreground`.
    """

    def __init__(self, keys: KeysCollection, above: str | float) -> None:
        super().__init__(keys)
        self.above = above

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with cropped images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            result[key] = image[(slice(None), *_spans(image, self.above))]
        return result


class CropMarginsd(MapTransform):
    """An image that is too large loses margins outside its foreground, as far as it is needed.

    Along an axis that is longer than the size, what stays is as long as the size, or as the
    foreground where that is longer, and as central as the foreground allows. An event says so.

    Args:
        keys: of the images.
        spatial_size: rows and columns, and slices of a volume.
        above: see `foreground`.
    """

    def __init__(
        self, keys: KeysCollection, spatial_size: Sequence[int], above: str | float
    ) -> None:
        super().__init__(keys)
        self.spatial_size = tuple(int(size) for size in spatial_size)
        self.above = above

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with images that are cut only where they are too large."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            found = image.shape[1:]
            if all(side <= size for side, size in zip(found, self.spatial_size, strict=True)):
                continue
            spans = zip(found, self.spatial_size, _spans(image, self.above), strict=True)
            image = image[(slice(None), *(_kept(*span) for span in spans))]
            if image.shape[1:] != found:
                what = f"{_sides(found)} to {_sides(image.shape[1:])}, only outside the foreground"
                _tell(result, MARGIN_CUT, what)
            result[key] = image
        return result


def _spans(image: Tensor, above: str | float) -> list[slice]:
    """Return where the foreground lies along each axis; the whole axis if there is none."""
    inside = foreground(image, above).any(0)
    spans = []
    for axis in range(inside.ndim):
        others = [other for other in range(inside.ndim) if other != axis]
        found = torch.nonzero(inside.sum(others)).flatten().tolist() or [0, inside.shape[axis] - 1]
        spans.append(slice(found[0], found[-1] + 1))
    return spans


def _kept(side: int, size: int, span: slice) -> slice:
    """Return the part of an axis that stays."""
    length = min(side, max(size, span.stop - span.start))
    first = min(max((side - length) // 2, span.stop - length), span.start)
    return slice(first, first + length)


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _tell(data: Mapping[Hashable, Any], code: str, detail: str) -> None:
    if EVENTS in data:
        data[EVENTS].append((code, detail))
    else:
        _logger.warning("%s: %s", code, detail)


def foreground(image: Tensor, above: str | float) -> Tensor:
    """Return where an image lies above ``mean`` or ``minimum`` of itself, or above a number."""
    plain = torch.as_tensor(np.asarray(image.detach().cpu()))
    if above == "mean":
        return plain > plain.mean()
    return plain > (plain.min() if above == "minimum" else float(above))


def _to_unit(image: Tensor, low: float, high: float) -> Tensor:
    scaled = (image - low) / (high - low) if high > low else torch.zeros_like(image)
    return scaled.clamp(0.0, 1.0)


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
        spatial_size: rows and columns, and slices of a volume.
        enlarge: enlarge a smaller image until it fills the size. Without it the image keeps its
            scale, as volumes in mm must, and only one that does not fit is shrunk as a whole,
            with an event.
    """

    def __init__(
        self, keys: KeysCollection, spatial_size: Sequence[int], enlarge: bool = True
    ) -> None:
        super().__init__(keys)
        self.spatial_size = tuple(int(size) for size in spatial_size)
        self.enlarge = enlarge

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with images of ``spatial_size``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            found = image.shape[1:]
            scale = min(t / f for t, f in zip(self.spatial_size, found, strict=True))
            if scale < 1 and not self.enlarge:
                what = f"{_sides(found)} by {scale:.3g} into {_sides(self.spatial_size)}"
                _tell(result, SHRUNK_TO_FIT, what)
            kept = scale >= 1 and not self.enlarge
            result[key] = self._centered(image if kept else self._resized(image, scale))
        return result

    def _resized(self, image: Tensor, scale: float) -> Tensor:
        inner = [max(1, round(side * scale)) for side in image.shape[1:]]
        inner = [min(i, t) for i, t in zip(inner, self.spatial_size, strict=True)]
        mode = "bilinear" if len(inner) == 2 else "trilinear"
        resized: Tensor = Resize(inner, mode=mode, anti_aliasing=True)(image)
        return resized

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
            low, high = (float(value) for value in torch.aminmax(image))
            if not (low >= -1e-3 and high <= 1.001):
                raise ValueError(
                    f"intensities go from {low:g} to {high:g} after preprocessing, expected "
                    "[0, 1]. Read the file through the bundle's own reader."
                )
            result[key] = image if low >= 0 and high <= 1 else image.clamp(0.0, 1.0)
        return result
