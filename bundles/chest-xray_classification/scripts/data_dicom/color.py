"""Color pictures (ultrasound, photographs) as RGB in [0, 1] (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dataset import value
from .decode import PixelFormat
from .refusal import refusal
from .values import Values, palette_of

_RGB = ("RGB", "YBR_ICT", "YBR_RCT")  # a JPEG 2000 decoder undoes the latter two itself
_YBR = ("YBR_FULL", "YBR_FULL_422")
_TO_RGB = np.array([[1.0, 1.0, 1.0], [0.0, -0.344136, 1.772], [1.402, -0.714136, 0.0]])
_PRIMARIES = ("Red", "Green", "Blue")


def read_color(
    dataset: Dataset, stored: NDArray[Any], form: PixelFormat
) -> tuple[Values, list[tuple[str, str]]]:
    """Return ``(H, W, 3)`` in [0, 1], or ``(H, W)`` where the three are equal, and the events.

    Raises:
        DicomError: ``PHOTOMETRIC`` or ``BAD_LUT``.
    """
    full = float((1 << form.bits) - 1)
    events = [] if form.photometric in _RGB else [("COLOR_CONVERTED", form.photometric)]
    if form.photometric in _RGB and form.shape[3] == 3:
        picture = stored / full
    elif form.photometric in _YBR and form.shape[3] == 3:
        middle = np.array([0.0, 1.0, 1.0]) * (1 << (form.bits - 1))
        picture = np.clip(np.round((stored - middle) @ _TO_RGB), 0, full) / full
    elif form.photometric == "PALETTE COLOR" and form.shape[3] == 1 and not form.signed:
        picture = np.stack([_looked_up(dataset, stored, name) for name in _PRIMARIES], axis=-1)
    else:
        raise refusal("PHOTOMETRIC")
    gray = np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(
        picture[..., 0], picture[..., 2]
    )
    return (picture[..., 0] if gray else picture), events


def _looked_up(dataset: Dataset, stored: NDArray[Any], primary: str) -> Values:
    name = f"{primary}PaletteColorLookupTable"
    lut = palette_of(value(dataset, f"{name}Descriptor"), value(dataset, f"{name}Data"))
    return lut(stored) / ((1 << lut.bits) - 1)
