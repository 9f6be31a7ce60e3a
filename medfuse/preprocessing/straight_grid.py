"""The grid at right angles that holds a sheared volume.

This file is copied into every bundle of volumes, so it imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHEAR = 1e-3

Affine = NDArray[np.float64]


def straightened(affine: Affine) -> Affine | None:
    """Return the affine with its axes at right angles; ``None`` if they are so already.

    Gram-Schmidt in the order of the axes: rows and columns of a slice stay, and the third step
    becomes the distance between slices.
    """
    axes = affine[:3, :3].T
    units = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    products = units @ units.T
    if np.abs(products - np.diag(np.diag(products))).max() < SHEAR:
        return None
    straight = affine.copy()
    for axis in (1, 2):
        for before in range(axis):
            unit = straight[:3, before] / np.linalg.norm(straight[:3, before])
            straight[:3, axis] -= unit * (unit @ straight[:3, axis])
    return straight


def straight_grid(affine: Affine, shape: Sequence[int]) -> tuple[Affine, tuple[int, ...]]:
    """Return affine and shape of the straight grid that holds the whole of a volume.

    Both are the given ones where the axes are at right angles already.
    """
    target = straightened(affine)
    if target is None:
        return affine, tuple(shape)
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners = np.c_[ends * (np.array(shape) - 1), np.ones(8)]
    places = (np.linalg.solve(target, affine) @ corners.T)[:3]
    low, high = places.min(1), places.max(1)
    grid = target.copy()
    grid[:3, 3] = (target @ np.append(low, 1))[:3]
    return grid, tuple((np.ceil(high - low - 1e-3).astype(int) + 1).tolist())
