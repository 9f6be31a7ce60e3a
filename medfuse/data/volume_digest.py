"""Names a volume by its voxels, however its axes are stored and whatever file it came in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.data.pixel_digest import pixel_digest

_ROWS_COLUMNS_SLICES = "PLS"


def volume_digest(pixels: NDArray[np.float32], affine: NDArray[np.float64] | None) -> str:
    """Return the digest of a volume with its axes turned to the nearest of RAS.

    Args:
        pixels: float32 ``(X, Y, Z)``, as `medfuse.data.volume_file.read_volume` gives them; -0 is
            taken for 0.
        affine: index to RAS+ mm. Without one the axes are taken for rows, columns and slices.
    """
    from nibabel import orientations  # imports pydicom as well

    nibabel: Any = orientations
    stored = (
        nibabel.axcodes2ornt(_ROWS_COLUMNS_SLICES)
        if affine is None
        else nibabel.io_orientation(affine)
    )
    return pixel_digest(nibabel.apply_orientation(pixels, stored) + np.float32(0))
