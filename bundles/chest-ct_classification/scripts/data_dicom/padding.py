"""Where an image holds padding, not measurements (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dataset import value
from .decode import PixelFormat
from .refusal import refusal

PADDING_TAGS = ("PixelPaddingValue", "PixelPaddingRangeLimit")


def padded(dataset: Dataset, stored: NDArray[Any], form: PixelFormat) -> NDArray[np.bool_] | None:
    """Return where the stored samples are padding, ``None`` where the file names none.

    Raises:
        DicomError: ``PIXEL_FORMAT``: the padding is no integer.
    """
    ends = [
        _sample(found, form) for name in PADDING_TAGS if (found := value(dataset, name)) is not None
    ]
    if not ends:
        return None
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _sample(found: Any, form: PixelFormat) -> int:
    """Return a padding value as its samples are stored, whatever sign its own type gave it."""
    try:
        number = int.from_bytes(found[:2], "little") if isinstance(found, bytes) else int(found)
    except (TypeError, ValueError, OverflowError):
        raise refusal("PIXEL_FORMAT", "PixelPaddingValue is no integer") from None
    low, high = form.limits
    if number > high and form.signed:
        return number - (1 << form.allocated)
    return number + (1 << form.allocated) if number < low and not form.signed else number
