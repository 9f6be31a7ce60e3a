"""What plugins read: formats beside the built-in ones, chosen by the end of a file's name.

This file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError; from .data_image_facts import facts_of_array; from .data_image_facts import require_size
from .data_volume_facts import MAX_VOXELS; from .data_volume_facts import Volume; from .data_volume_facts import VolumeHeader; from .data_volume_facts import limits_of; from .data_volume_facts import require_affine; from .data_volume_facts import require_finite

BUILT_IN_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".npz", ".nii", ".nii.gz", ".nrrd",
    ".mha", ".mhd", ".dcm", ".dicom",
)  # fmt: skip
_FAILED = "PLUGIN_READER"


class PluginReader:
    """One format of a plugin, its results checked like those of a built-in format.

    Args:
        name: ``plugin:reader``, for error texts.
        suffixes: endings of file names in lower case, with the dot.
        read: gives an image with ``pixels`` ``(C, *spatial)``, ``affine`` (4 x 4, index to mm in
            RAS+, or ``None``) and ``modality`` for a path.
    """

    def __init__(self, name: str, suffixes: Sequence[str], read: Callable[[str], Any]) -> None:
        self.name = name
        self.suffixes = tuple(suffixes)
        self._read = read

    def kind(self, path: str) -> str:
        """Return ``image`` or ``volume``; the file is read for it."""
        return "image" if self._image(path)[0].ndim == 3 else "volume"

    def picture(self, path: str) -> tuple[NDArray[Any], ImageFacts]:
        """Return the stored samples, ``(H, W)`` or ``(H, W, C)``, and what is known of them.

        Raises:
            ImageFileError: the reader failed, or gives a volume.
        """
        pixels, image = self._image(path)
        if pixels.ndim != 3:
            raise ImageFileError(
                "UNSUPPORTED_SHAPE", path, "holds a volume, expected one picture. kind: volume?"
            )
        require_size(path, pixels.size)
        facts = facts_of_array(pixels, self.name, ())
        shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
        modality = self._modality(image)
        return shown, ImageFacts(facts.bits, facts.signed, self.name, (), modality)

    def volume(self, path: str) -> Volume:
        """Return the volume: float32 ``(X, Y, Z)``, finite.

        Raises:
            ImageFileError: the reader failed, or gives a picture or several channels.
        """
        pixels, image = self._image(path)
        if pixels.ndim != 4 or len(pixels) != 1:
            raise ImageFileError(
                "UNSUPPORTED_SHAPE", path, f"has shape {pixels.shape}, expected (1, X, Y, Z)."
            )
        shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        if math.prod(shape) > MAX_VOXELS:
            raise ImageFileError("TOO_LARGE", path, f"has over {MAX_VOXELS} voxels.")
        with np.errstate(over="ignore"):
            values = np.asarray(pixels[0], np.float32)
        limits = limits_of(pixels.dtype)
        bits = pixels.dtype.itemsize * 8 if limits else 32
        header = VolumeHeader(shape, self._affine(image, path), self._modality(image), bits, limits)
        return Volume(require_finite(values, path), header)

    def _image(self, path: str) -> tuple[NDArray[Any], Any]:
        """Return the pixels ``(C, *spatial)`` of numbers, and what the reader gave."""
        try:
            image = self._read(path)
            pixels = np.asarray(image.pixels)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # a plugin may raise anything
            text = f"reader {self.name} of a plugin failed ({type(error).__name__})."
            raise ImageFileError(_FAILED, path, text) from error
        if pixels.ndim not in (3, 4) or not pixels.size or pixels.dtype.kind not in "iuf":
            raise ImageFileError(
                _FAILED,
                path,
                f"reader {self.name} gave {pixels.dtype} {pixels.shape}, expected numbers "
                "(C, H, W) or (1, X, Y, Z).",
            )
        return pixels, image

    def _affine(self, image: Any, path: str) -> NDArray[np.float64] | None:
        affine = getattr(image, "affine", None)
        if affine is None:
            return None
        found = np.asarray(affine, np.float64)
        if found.shape != (4, 4):
            raise ImageFileError(
                _FAILED, path, f"reader {self.name} gave an affine {found.shape}, expected (4, 4)."
            )
        return require_affine(found, path)

    def _modality(self, image: Any) -> str:
        modality = str(getattr(image, "modality", "") or "")
        return "" if modality == "other" else modality


def reader_of(path: str, readers: Sequence[PluginReader]) -> PluginReader | None:
    """Return the plugin's reader for a file; ``None`` where a built-in format has it.

    The longest ending decides: a reader of ``.gz`` does not take ``.nii.gz``.
    """
    name = path.lower()
    built_in = longest_ending(name, BUILT_IN_ENDINGS)
    found = max(readers, key=lambda one: len(longest_ending(name, one.suffixes)), default=None)
    if found is None or len(longest_ending(name, found.suffixes)) <= len(built_in):
        return None
    return found


def longest_ending(name: str, endings: Sequence[str]) -> str:
    """Return the longest of the endings that a name in lower case has; empty if none."""
    return max((end for end in endings if name.endswith(end)), key=len, default="")
