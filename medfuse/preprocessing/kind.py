"""Tell pictures from volumes, by what a file is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from medfuse.data.dicom.refusal import DicomError
from medfuse.data.dicom.sandbox import shared_reader
from medfuse.data.image_array import archive_array
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.plugin_reader import PluginReader, reader_of
from medfuse.data.volume_dicom import is_dicom

_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def kind_of(reference: str, readers: Sequence[PluginReader] = ()) -> str:
    """Return ``image`` or ``volume``; what cannot be read is an image, whose reader says why.

    A folder is the series of a volume, unless it holds projections or photographs alone. A DICOM
    file is a volume if it holds several slices, a TIFF file if it has several pages, an array if
    it has three axes none of which is color. What a plugin reads is what its reader gives.
    """
    path, _, inside = reference.partition("::")
    own = reader_of(path, readers)
    try:
        if own is not None:
            return own.kind(path)
        if path.lower().endswith(_VOLUME_SUFFIXES):
            return "volume"
        return _kind_of_series(path, inside) if Path(path).is_dir() else _kind_of_file(reference)
    except (ImageFileError, OSError, ValueError, KeyError, EOFError, tifffile.TiffFileError):
        return "image"


def _kind_of_file(reference: str) -> str:
    path, _, inside = reference.partition("::")
    shape = _array_shape(path, inside)
    if shape is not None:
        color = shape[-1] in (1, 3) or shape[0] in (1, 3)
        return "volume" if len(shape) == 3 and not color else "image"
    if is_dicom(path):
        return "image" if _is_picture(reference) else "volume"
    return "volume" if _pages(path) > 1 else "image"


def _kind_of_series(folder: str, key: str) -> str:
    try:
        listed = shared_reader().list(folder).series
    except DicomError:
        return "volume"
    chosen = [series for series in listed if key in ("", series.key)]
    return "image" if chosen and not any(series.volume for series in chosen) else "volume"


def _array_shape(path: str, inside: str) -> tuple[int, ...] | None:
    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        return archive_array(path, inside.partition("::")[0]).shape[1:]
    if suffix == ".npy":
        found: tuple[int, ...] = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return found
    return None


def _is_picture(reference: str) -> bool:
    try:
        read_pixels(reference)
    except ImageFileError as error:
        return error.code != "UNSUPPORTED_SHAPE"
    return True


def _pages(path: str) -> int:
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return 1
    with tifffile.TiffFile(path) as tiff:
        return len([p for p in tiff.pages if not getattr(p, "is_reduced", False)])
