"""MONAI's door to the volume files.

This file is copied into every bundle, so it imports numpy, monai and its neighbors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader  # noqa: TID253
from numpy.typing import NDArray

from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.volume_facts import Affine, Volume, VolumeHeader
from medfuse.data.volume_file import read_volume

_AXES = {
    "R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1),
}  # fmt: skip


class VolumeReader(ImageReader):
    """MONAI's door to `read_volume`; `get_data` decodes, as that of `ImageFileReader` does.

    Args:
        scale: ``dtype`` maps the range of the stored type to [0, 1] (floats must lie in it
            already); ``none`` gives the stored values.
        orientation: axis codes that the axes of a volume without geometry are taken to have.
        geometry: refuse volumes without geometry.
        readers: of plugins, for files whose ending is theirs.
    """

    def __init__(
        self,
        scale: str = "none",
        orientation: str = "PLS",
        geometry: bool = False,
        readers: Sequence[PluginReader] = (),
    ) -> None:
        super().__init__()
        self.readers = tuple(readers)
        self.scale = scale
        self.orientation = orientation
        self.geometry = geometry

    def verify_suffix(self, filename: Any) -> bool:  # noqa: ARG002
        """Return that any file may be tried: the first bytes decide, not the name."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Return the reference itself; one file or folder only."""
        names = [data] if isinstance(data, str | os.PathLike) else list(data)
        if len(names) != 1:
            raise ValueError(f"one file is read at a time, found {len(names)}")
        return str(names[0])

    def get_data(self, img: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return float32 ``(X, Y, Z)``, and the metadata that MONAI expects."""
        volume = read_volume(img, self.readers)
        meta = {
            "original_channel_dim": float("nan"),
            "spatial_shape": np.asarray(volume.pixels.shape),
            "affine": self.affine(volume.header, img),
            "space": "RAS",
            "bits": volume.bits,
        }
        return self.to_float(volume, img), meta

    def affine(self, header: VolumeHeader, reference: str) -> Affine:
        """Return the affine; of a volume without one that of ``orientation`` and 1 mm.

        Raises:
            ImageFileError: there is none, and ``geometry`` needs it.
        """
        if header.affine is not None:
            return header.affine
        if self.geometry:
            raise ImageFileError(
                "NO_GEOMETRY", reference, "says no spacing, expected it. Set spacing: none."
            )
        affine = np.zeros((4, 4))
        for column, letter in enumerate(self.orientation):
            row, sign = _AXES[letter]
            affine[row, column] = sign
        affine[3, 3] = 1
        return affine

    def to_float(self, volume: Volume, reference: str) -> NDArray[np.float32]:
        """Return the voxels, scaled as ``scale`` says.

        Raises:
            ImageFileError: ``dtype``, and values of no known range.
        """
        if self.scale != "dtype":
            return volume.pixels
        low, high = volume.header.limits or (0.0, 1.0)
        pixels = volume.pixels if (low, high) == (0, 1) else (volume.pixels - low) / (high - low)
        least, most = float(pixels.min()), float(pixels.max())
        if least < 0 or most > 1:
            raise ImageFileError(
                "OUT_OF_RANGE",
                reference,
                f"values go from {least:g} to {most:g}, expected [0, 1]. "
                "Use percentile, zscore or window.",
            )
        return np.asarray(pixels, np.float32)
