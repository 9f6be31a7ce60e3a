"""Read one volume as it was stored, or say with a code why not.

This file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from medfuse.data.image_facts import ImageFileError, damaged, require_regular_file
from medfuse.data.plugin_reader import PluginReader, reader_of
from medfuse.data.volume_array import read_npy_volume, read_npz_volume, read_tiff_volume
from medfuse.data.volume_dicom import is_dicom, read_dicom_volume
from medfuse.data.volume_facts import Volume, VolumeHeader
from medfuse.data.volume_metaimage import (
    METAIMAGE_ENDINGS,
    is_metaimage,
    metaimage_header,
    read_metaimage,
)
from medfuse.data.volume_nifti import is_nifti, nifti_header, read_nifti
from medfuse.data.volume_nrrd import nrrd_header, read_nrrd
from medfuse.data.volume_stream import unpacked

_Result = TypeVar("_Result")
_MAGIC = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    b"\x93NUM": "NPY",
    b"NRRD": "NRRD",
}
_DECODE_ERRORS = (OSError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError)
_START = 64
_READERS: Mapping[str, Callable[[str], Volume]] = {
    "NPY": read_npy_volume,
    "TIFF": read_tiff_volume,
    "NRRD": read_nrrd,
    "MetaImage": read_metaimage,
}
_HEADERS: Mapping[str, Callable[[str], VolumeHeader]] = {
    "NRRD": nrrd_header,
    "MetaImage": metaimage_header,
}
_OTHER = {b"\x89PNG": "PNG", b"%PDF": "PDF", b"PK\3\4": "a zip archive"}


def read_volume(reference: str, readers: Sequence[PluginReader] = ()) -> Volume:
    """Return the volume: float32 ``(X, Y, Z)`` in stored units, finite, with its affine.

    Decided by content: DICOM (a file, or the folder of a series), NIfTI, NRRD, MetaImage (``.mha``,
    or ``.mhd`` beside its voxels), TIFF of several pages, ``.npy``, ``.npz``.

    Args:
        reference: ``PATH``, ``FOLDER::SERIES_KEY``, ``FILE.nii.gz::INDEX`` of a 4D file, or
            ``FILE.npz::KEY::INDEX``.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageFileError: the file is absent, damaged, too large, or nothing that is read here.
    """
    own = _plugin_reader(reference, readers)
    return _guarded(reference, _volume if own is None else lambda path, _: own.volume(path))


def volume_header(reference: str, readers: Sequence[PluginReader] = ()) -> VolumeHeader:
    """Return what is known of a volume; of NIfTI, NRRD and MetaImage without reading its voxels.

    Raises:
        ImageFileError: as `read_volume`.
    """
    own = _plugin_reader(reference, readers)
    return _guarded(reference, _header if own is None else lambda path, _: own.volume(path).header)


def _plugin_reader(reference: str, readers: Sequence[PluginReader]) -> PluginReader | None:
    path, _, inside = str(reference).partition("::")
    own = reader_of(path, readers)
    if own is not None:
        require_regular_file(path)
    if own is not None and inside:
        raise ImageFileError("FILE_NOT_FOUND", path, f"holds one volume, not {inside}.")
    return own


def _guarded(reference: str, read: Callable[[str, str], _Result]) -> _Result:
    path, _, inside = str(reference).partition("::")
    try:
        return read(path, inside)
    except ImageFileError:
        raise
    except MemoryError as error:
        raise ImageFileError("TOO_LARGE", path, "does not fit into memory.") from error
    except PermissionError as error:
        raise ImageFileError("UNREADABLE", path, "may not be read by this user.") from error
    except _DECODE_ERRORS as error:
        raise damaged(path, error) from error


def _volume(path: str, inside: str) -> Volume:
    found = _format(path)
    if found == "DICOM":
        return read_dicom_volume(f"{path}::{inside}" if inside else path)
    if found == "NPZ":
        return read_npz_volume(path, inside)
    if found == "NIfTI":
        return read_nifti(path, inside)
    if inside:
        raise ImageFileError("FILE_NOT_FOUND", path, f"holds one volume, not {inside}.")
    return _READERS[found](path)


def _header(path: str, inside: str) -> VolumeHeader:
    found = _format(path)
    if found == "NIfTI":
        return nifti_header(path, inside)
    if inside or found not in _HEADERS:
        return _volume(path, inside).header
    return _HEADERS[found](path)


def _format(path: str) -> str:
    if is_dicom(path):
        return "DICOM"
    require_regular_file(path)
    if Path(path).suffix.lower() == ".npz":
        return "NPZ"
    with Path(path).open("rb") as file:
        start = file.read(_START)
    named = "MetaImage" if is_metaimage(start) else _MAGIC.get(start[:4])
    if named:
        return named
    with unpacked(path) as stream:
        head = stream.read(348)
    if is_nifti(head):
        return "NIfTI"
    if path.lower().endswith(METAIMAGE_ENDINGS):
        return "MetaImage"
    raise _refused(path, start)


def _refused(path: str, start: bytes) -> ImageFileError:
    name = _OTHER.get(start[:4], "JPEG" if start[:2] == b"\xff\xd8" else "")
    if name:
        return ImageFileError("UNSUPPORTED", path, f"{name} is no volume. Convert it to NIfTI.")
    return ImageFileError(
        "NOT_AN_IMAGE", path, "is no DICOM, NIfTI, NRRD, MetaImage, TIFF, .npy or .npz by content."
    )
