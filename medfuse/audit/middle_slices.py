"""The three middle slices of a volume side by side, upright and in true proportion."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 192
_ORIENTATIONS: Any = nibabel.orientations


def middle_slices(
    volume: NDArray[np.float32], affine: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return the axial, coronal and sagittal middle slice, ``(192, 576)``, in stored units.

    Anterior and superior are up, the patient's right is left, as radiologists look at them.

    Args:
        volume: ``(X, Y, Z)``.
        affine: array index to mm in RAS+. Without one the axes are rows, columns and slices, a
            mm each, and taken for what they are in an axial stack.
    """
    upright, spacing = _oriented(volume, affine)
    x, y, z = (length // 2 for length in upright.shape)
    planes = (
        (upright[:, :, z].T, spacing[1], spacing[0]),
        (upright[:, y, ::-1].T, spacing[2], spacing[0]),
        (upright[x, :, ::-1].T, spacing[2], spacing[1]),
    )
    extents = [(rows * p.shape[0], columns * p.shape[1]) for p, rows, columns in planes]
    longest = max(max(extent) for extent in extents)
    return np.concatenate(
        [
            _framed(plane, (height / longest, width / longest))
            for (plane, _, _), (height, width) in zip(planes, extents, strict=True)
        ],
        axis=1,
    )


def _oriented(
    volume: NDArray[np.float32], affine: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return the volume along left, posterior, superior, and its spacing in that order."""
    if affine is None:
        return volume.transpose(1, 0, 2), (1.0, 1.0, 1.0)
    turn = _ORIENTATIONS.ornt_transform(
        _ORIENTATIONS.io_orientation(affine), _ORIENTATIONS.axcodes2ornt("LPS")
    )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(turn[:, 0])
    x, y, z = (float(lengths[int(axis)]) for axis in order)
    return np.asarray(_ORIENTATIONS.apply_orientation(volume, turn)), (x, y, z)


def _framed(plane: NDArray[np.float32], share: tuple[float, float]) -> NDArray[np.float32]:
    """Return the plane on a square of its own darkest value, as large as its share of it."""
    height, width = (max(1, round(SIDE * part)) for part in share)
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    frame = np.full((SIDE, SIDE), resized.min(), dtype=np.float32)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    frame[top : top + height, left : left + width] = resized
    return frame
