"""The geometry of a volume on its way to the canonical one.

This file is copied into every bundle, so it imports numpy, torch, monai and its neighbor. Each
class is a dictionary transform on channel-first volumes ``(C, X, Y, Z)`` that know their affine
(mm).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import SpatialResample
from monai.transforms.transform import MapTransform
from torch import Tensor

from medfuse.preprocessing.straight_grid import Affine, straight_grid

MAX_VOXELS = 2**28


class Straightend(MapTransform):
    """A sheared volume, as a tilted gantry gives, is resampled to axes at right angles.

    The first two axes keep their direction and the new box holds the whole volume; what lies
    outside of it gets the smallest value. A volume whose axes are at right angles to within
    0.06 degrees is not touched.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with straight volumes.

        Raises:
            ValueError: a volume came without its affine, or would become too large.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            affine = affine_of(result[key])
            grid, shape = straight_grid(affine, result[key].shape[1:])
            if grid is not affine:
                result[key] = _resampled(result[key], grid, shape)
        return result


class Respaced(MapTransform):
    """Voxels get the wished distances in mm, along the axes as they are.

    Linear interpolation whose triangle widens where voxels become fewer, so that nothing is
    skipped; at the border it uses the voxels that are there.

    Args:
        keys: of the volumes.
        spacing: mm along each axis.
    """

    def __init__(self, keys: KeysCollection, spacing: Sequence[float]) -> None:
        super().__init__(keys)
        self.spacing = tuple(float(step) for step in spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with volumes of that spacing.

        Raises:
            ValueError: a volume came without its affine, or would become too large.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._respaced(result[key], affine_of(result[key]))
        return result

    def _respaced(self, image: Tensor, affine: Affine) -> Tensor:
        factors = np.asarray(self.spacing) / np.linalg.norm(affine[:3, :3], axis=0)
        before = np.array(image.shape[1:])
        after = np.maximum(np.rint(before / factors).astype(int), 1)
        _require_voxels(after.tolist())
        starts = (before - 1 - (after - 1) * factors) / 2
        values = torch.as_tensor(np.asarray(image))
        for axis in sorted(range(3), key=lambda axis: after[axis] / before[axis]):
            matrix = _triangles(before[axis], after[axis], starts[axis], factors[axis])
            values = (values.transpose(axis + 1, -1) @ matrix.T).transpose(axis + 1, -1)
        target = affine.copy()
        target[:3, 3] = affine[:3, :3] @ starts + affine[:3, 3]
        target[:3, :3] *= factors
        # Bundles name a case by its file, which MONAI keeps with the image.
        name = {k: v for k, v in getattr(image, "meta", {}).items() if k == "filename_or_obj"}
        return MetaTensor(values.contiguous(), affine=torch.as_tensor(target), meta=name)


def affine_of(image: Any) -> Affine:
    """Return the affine that a volume carries, array index to mm.

    Raises:
        ValueError: it carries none.
    """
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        raise ValueError(
            "found a volume without its affine, expected MONAI's metadata. "
            "Call monai.data.set_track_meta(True)."
        )
    return np.asarray(image.affine, np.float64).copy()


def _triangles(before: int, after: int, start: float, factor: float) -> Tensor:
    """Return weights ``(after, before)`` of the places ``start + j * factor``; rows sum to 1."""
    places = start + factor * np.arange(after)[:, None]
    weights = np.maximum(0, 1 - np.abs(np.arange(before) - places) / max(factor, 1.0))
    nearest = np.arange(before) == np.clip(np.rint(places), 0, before - 1)
    weights = np.where(weights.sum(1, keepdims=True) > 1e-9, weights, nearest)
    return torch.as_tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32)


def _resampled(image: Tensor, grid: Affine, shape: tuple[int, ...]) -> Tensor:
    _require_voxels(shape)
    least = float(image.min())
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=np.float32)
    moved: Tensor = resample(image - least, dst_affine=torch.as_tensor(grid), spatial_size=shape)
    return moved + least


def _require_voxels(shape: Sequence[int]) -> None:
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(
            f"the volume would become {tuple(shape)}, expected at most {MAX_VOXELS} voxels. "
            "Set a larger spacing."
        )
