"""One volume has one digest, however its axes are stored."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel import orientations

from medfuse.data.volume_digest import volume_digest

VOLUME = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)
AFFINE = np.diag([0.5, 0.75, 3.0, 1.0])


def stored(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume and its affine with the axes turned."""
    turn = orientations.axcodes2ornt(codes)
    pixels = orientations.apply_orientation(VOLUME, turn)
    return pixels, AFFINE @ orientations.inv_ornt_aff(turn, VOLUME.shape)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PLS", "SAR", "IPL"])
def test_turned_axes_do_not_change_it(codes: str) -> None:
    assert volume_digest(*stored(codes)) == volume_digest(VOLUME, AFFINE)


def test_a_mirrored_volume_is_another() -> None:
    assert volume_digest(VOLUME[::-1], AFFINE) != volume_digest(VOLUME, AFFINE)


def test_without_geometry_the_axes_are_rows_columns_and_slices() -> None:
    pixels, _ = stored("PLS")
    assert volume_digest(pixels, None) == volume_digest(VOLUME, AFFINE)


def test_minus_zero_is_zero() -> None:
    zeros = np.zeros((2, 2, 2), np.float32)
    assert volume_digest(-zeros, None) == volume_digest(zeros, None)
