"""Where each slice lies and how its values are scaled, of single-frame and multi-frame objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dataset import integer, text, value
from .kinds import has_frame_items
from .refusal import refusal
from .values import RESCALE_TAGS, Rescale, rescale_of

GEOMETRY_TAGS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "PixelRepresentation"),
    *("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
    *RESCALE_TAGS,
)
_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
    *("FrameContentSequence", "PixelValueTransformationSequence"),
)
_LARGEST_MM = 1e5
_SPACING_MM = (1e-3, 1e3)


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        instance: index of its object in the series.
        number: index of the frame in its object.
        position: mm of the center of its first pixel, ``(3,)``, LPS.
        orientation: direction cosines of row and column, ``(6,)``.
        spacing: mm between rows and between columns, ``(2,)``.
        rescale: its modality transformation.
        stack: name of its stack, empty where the object has none.
    """

    instance: int
    number: int
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    rescale: Rescale
    stack: str = ""


def frames_of(dataset: Dataset, instance: int) -> list[Frame]:
    """Return the slices of one object.

    Raises:
        DicomError: ``NO_GEOMETRY``, ``BAD_GEOMETRY``, ``BAD_FRAMES``, ``BAD_RESCALE``,
            ``BAD_LUT`` or ``MULTI_FRAME``.
    """
    if has_frame_items(dataset):
        return _enhanced(dataset, instance)
    if integer(dataset, "NumberOfFrames", 1) != 1:
        raise refusal("MULTI_FRAME")
    return [_frame((dataset, dataset, dataset, Dataset(), dataset), (instance, 0))]


def require_numbers(found: Any, count: int, name: str) -> NDArray[np.float64]:
    """Return ``count`` finite numbers of a possible size.

    Raises:
        DicomError: ``NO_GEOMETRY`` where absent, ``BAD_GEOMETRY`` where not such numbers.
    """
    if found is None:
        raise refusal("NO_GEOMETRY", f"{name} is absent")
    try:
        numbers = np.array([float(part) for part in found])
    except (TypeError, ValueError, OverflowError):
        raise refusal("BAD_GEOMETRY", f"{name} is not {count} numbers") from None
    if numbers.shape != (count,) or not (np.abs(numbers) <= _LARGEST_MM).all():
        raise refusal("BAD_GEOMETRY", f"{name} is not {count} finite numbers")
    return numbers


def require_spacing(found: Any, name: str) -> NDArray[np.float64]:
    """Return two spacings in mm.

    Raises:
        DicomError: ``NO_GEOMETRY`` or ``BAD_GEOMETRY``.
    """
    spacing = require_numbers(found, 2, name)
    low, high = _SPACING_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        raise refusal("BAD_GEOMETRY", f"{name} is outside {low:g} to {high:g} mm")
    return spacing


def _enhanced(dataset: Dataset, instance: int) -> list[Frame]:
    items = list(value(dataset, "PerFrameFunctionalGroupsSequence"))
    count = integer(dataset, "NumberOfFrames", 1)
    if len(items) != count:
        raise refusal("BAD_FRAMES", f"{len(items)} items for {count} frames")
    shared = value(dataset, "SharedFunctionalGroupsSequence") or [Dataset()]
    return [
        _frame(tuple(_macro(item, shared[0], name) for name in _MACROS), (instance, number))
        for number, item in enumerate(items)
    ]


def _macro(item: Dataset, shared: Dataset, name: str) -> Dataset:
    for place in (item, shared):
        found: Sequence[Dataset] | None = value(place, name)
        if found:
            return found[0]
    return Dataset()


def _frame(parts: tuple[Dataset, ...], which: tuple[int, int]) -> Frame:
    position, orientation, measures, content, scaled = parts
    directions = value(orientation, "ImageOrientationPatient")
    return Frame(
        *which,
        require_numbers(value(position, "ImagePositionPatient"), 3, "ImagePositionPatient"),
        require_numbers(directions, 6, "ImageOrientationPatient"),
        require_spacing(value(measures, "PixelSpacing"), "PixelSpacing"),
        rescale_of(scaled),
        text(content, "StackID"),
    )
