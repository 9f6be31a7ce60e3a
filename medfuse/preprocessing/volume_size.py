"""Choose spacing and size of volumes from what the cohort has.

In the spirit of nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z): the median spacing,
a finer one along an axis that is much coarser than the others. Unlike there, a classifier sees
the whole volume at once, so the voxels are made larger until a typical volume fits the budget;
the finest axes give way first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUDGET = 96 * 96 * 48
ANISOTROPIC = 3.0
_MULTIPLE = 8
_TYPICAL = 90
_FAR = 1.5
_STEP = 1.01

Sides = tuple[float, float, float]


def target_spacing(spacings: NDArray[np.float64]) -> Sides:
    """Return the spacing that suits volumes ``(N, 3)`` of various spacing, in mm.

    The median; along an axis over three times as coarse as both others, the 10th percentile (not
    below the largest of the others).
    """
    median = np.median(spacings, axis=0)
    coarse = int(median.argmax())
    if is_anisotropic(median):
        others = np.delete(median, coarse)
        median[coarse] = max(np.percentile(spacings[:, coarse], 10), others.max())
    x, y, z = median.tolist()
    return x, y, z


def is_anisotropic(spacing: Sequence[float] | NDArray[np.float64]) -> bool:
    """Return whether one axis is over three times as coarse as both others."""
    finer, coarsest = sorted(float(step) for step in spacing)[1:]
    return coarsest > ANISOTROPIC * finer


def typical_extent(extents: NDArray[np.float64]) -> list[float]:
    """Return the sides that hold most of the volumes of extents ``(N, 3)``.

    The 90th percentile along each axis, so that nine of ten volumes fit, but at most 1.5 times
    the median: a rare whole-body scan shall not coarsen all others.
    """
    most = np.percentile(extents, _TYPICAL, axis=0, method="higher")
    sides: list[float] = np.minimum(most, _FAR * np.median(extents, axis=0)).tolist()
    return sides


def within_budget(extent: Sequence[float], spacing: Sides, budget: int = BUDGET) -> Sides:
    """Return the spacing, made larger until a volume of ``extent`` mm has few enough voxels."""
    found = np.array(spacing, float)
    while math.prod(size_of(extent, found.tolist())) > budget:
        finest = found <= found.min() * _STEP
        found = np.where(finest, found * _STEP, found)
    x, y, z = found.tolist()
    return x, y, z


def size_of(extent: Sequence[float], spacing: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxels that hold ``extent`` along each axis, up to the next multiple of 8."""
    sides = [
        _MULTIPLE * max(1, math.ceil(round(length / step) / _MULTIPLE))
        for length, step in zip(extent, spacing, strict=True)
    ]
    return sides[0], sides[1], sides[2]


def spacing_for(extent: Sequence[float], spacing: Sides, size: Sequence[int]) -> Sides:
    """Return the spacing, made larger along all axes alike until ``extent`` fits into ``size``."""
    pairs = zip(extent, spacing, size, strict=True)
    factor = max(1.0, *(length / (step * side) for length, step, side in pairs))
    return spacing[0] * factor, spacing[1] * factor, spacing[2] * factor


def rounded(spacing: Sides) -> Sides:
    """Return the spacing with three digits, as it is written out; up, so that what fits still does.

    >>> rounded((0.44921875, 4.0, 12.341))
    (0.45, 4.0, 12.4)
    """
    x, y, z = (_up(step) for step in spacing)
    return x, y, z


def _up(step: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(step)) - 2)
    return float(f"{math.ceil(step / unit - 1e-6) * unit:.3g}")
