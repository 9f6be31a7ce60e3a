"""Images of another bit depth as pictures in [0, 1], for networks that learned from 8-bit ones.

This file is copied into bundles of images, so it imports numpy and its neighbors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data_image_facts import ImageFacts

NO_WINDOW = "NO_VOI"
OTHER_DEPTH = "OTHER_DEPTH"


class Rendering:
    """What a viewer would have exported as an 8-bit picture.

    An X-ray of DICOM is as its own window shows it, and 8-bit samples have the range of their
    type. All else is stretched between percentiles of the image, CT of DICOM between the bounds
    of a window.

    Args:
        percentiles: of the image's samples, black and white.
        window: Hounsfield units, black and white, of CT that is DICOM.
    """

    def __init__(
        self, percentiles: Sequence[float] = (0.5, 99.5), window: Sequence[float] | None = None
    ) -> None:
        self.percentiles = tuple(percentiles)
        self.window = None if window is None else tuple(window)

    def __call__(self, pixels: NDArray[Any], facts: ImageFacts) -> NDArray[np.float32]:
        """Return float32 of the same shape, in [0, 1]."""
        values = pixels.astype(np.float32)
        if pixels.dtype == np.uint8:
            return values / np.float32(255)
        if _is_picture(values, facts):
            return values
        if self.window is not None and facts.modality == "CT":
            low, high = map(np.float32, self.window)
        else:
            low, high = np.percentile(values, self.percentiles).astype(np.float32)
        if not high > low:
            return np.zeros_like(values)
        stretched: NDArray[np.float32] = np.clip((values - low) / (high - low), 0, 1)
        return stretched


def _is_picture(values: NDArray[np.float32], facts: ImageFacts) -> bool:
    """Return whether the reader of DICOM gave a picture as it is meant to be seen."""
    windowed = all(code != NO_WINDOW for code, _ in facts.events)
    fills = facts.stored_bits == 8  # samples of 8 bits are mapped by the range of their type
    in_unit = bool(values.min() >= 0 and values.max() <= 1)
    return facts.format == "DICOM" and in_unit and (windowed or fills)
