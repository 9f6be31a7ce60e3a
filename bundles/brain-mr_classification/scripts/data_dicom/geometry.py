"""Order slices by where they lie, and refuse what is no regular stack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .frames import Frame
from .refusal import refusal

_SAME_DIRECTION = 1e-3
_ORTHONORMAL = 1e-2
_SAME_PLACE_MM = 0.01
_OFF_LINE_MM = 0.05
_TILTED_DEGREES = 0.05
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stack(frames: Sequence[Frame]) -> tuple[list[Frame], NDArray[np.float64], float]:
    """Return the slices from first to last, their affine in RAS+ mm, and their tilt in degrees.

    Order and affine depend on the positions alone: not on names, numbers or the order given.

    Raises:
        DicomError: the slices are not parallel, equidistant, on one line and of one spacing.
    """
    _require_parallel(frames)
    row, column = frames[0].orientation[:3], frames[0].orientation[3:]
    normal = np.cross(row, column)
    ordered = sorted(frames, key=lambda frame: float(frame.position @ normal))
    positions = np.array([frame.position for frame in ordered])
    if len(ordered) == 1:
        raise refusal("SINGLE_SLICE")
    step = _step(positions, normal)
    affine = np.eye(4)
    affine[:3, 0] = row * ordered[0].spacing[1]
    affine[:3, 1] = column * ordered[0].spacing[0]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    cosine = abs(step @ normal) / np.linalg.norm(step)
    tilt = float(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
    return ordered, _LPS_TO_RAS @ affine, tilt if tilt > _TILTED_DEGREES else 0.0


def _require_parallel(frames: Sequence[Frame]) -> None:
    orientations = np.array([frame.orientation for frame in frames])
    spacings = np.array([frame.spacing for frame in frames])
    row, column = orientations[:, :3], orientations[:, 3:]
    lengths = np.concatenate([np.linalg.norm(row, axis=1), np.linalg.norm(column, axis=1)])
    if (np.abs(lengths - 1) > _ORTHONORMAL).any() or (
        np.abs((row * column).sum(axis=1)) > _ORTHONORMAL
    ).any():
        raise refusal("BAD_GEOMETRY", "ImageOrientationPatient is not orthonormal")
    if len({frame.stack for frame in frames}) > 1:
        raise refusal("SEVERAL_STACKS")
    if np.abs(orientations - orientations[0]).max() > _SAME_DIRECTION:
        raise refusal("MIXED_ORIENTATION")
    if np.abs(spacings - spacings[0]).max() > _SAME_DIRECTION * spacings[0].min():
        raise refusal("MIXED_SPACING")


def _step(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector from one slice to the next, in mm."""
    gaps = np.diff(positions @ normal)
    middle = float(np.median(gaps))
    if (gaps < _SAME_PLACE_MM).any():
        count = int((gaps < _SAME_PLACE_MM).sum())
        raise refusal("REPEATED_POSITIONS", f"{count} of {len(positions)} slices")
    if np.abs(gaps - middle).max() > max(_OFF_LINE_MM, 0.01 * middle):
        raise refusal("IRREGULAR_SPACING", f"gaps of {gaps.min():.2f} to {gaps.max():.2f} mm")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    ideal = positions[0] + np.arange(len(positions))[:, None] * step
    if np.abs(positions - ideal).max() > _OFF_LINE_MM:
        raise refusal("NOT_COLLINEAR")
    return np.asarray(step)
