"""One file as stored samples and as a gray picture that a person can look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfuse.audit.middle_slices import middle_slices
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.data.plugin_reader import PluginReader, reader_of
from medfuse.data.volume_dicom import is_dicom
from medfuse.data.volume_digest import volume_digest
from medfuse.data.volume_file import read_volume
from medfuse.data.volume_metaimage import HEADER_ENDING, metaimage_data_file

_SHOWN_PERCENTILES = (0.5, 99.5)
_MAY_BE_A_VOLUME = ("UNSUPPORTED", "UNSUPPORTED_SHAPE", "NOT_AN_IMAGE")
_DECODER_ERRORS = (OSError, ValueError, SyntaxError)


@dataclass(frozen=True, eq=False)
class Picture:
    """One image or volume, read once.

    Attributes:
        digest: equal for the same picture in two files, as training knows it.
        samples: as stored: ``(H, W)``, ``(H, W, 3)``, or ``(X, Y, Z)`` of a volume.
        gray: float32 ``(H, W)`` in stored units; of a volume the three middle slices
            (axial, coronal, sagittal) side by side.
        shape: height and width of an image; columns, rows and slices of a volume.
        spacing: mm along ``shape``; ``None`` where the file does not say.
        modality: DICOM's abbreviation (``CT``, ``MR``, ``CR``...); empty where unknown.
        bits: per stored sample.
        depth: 8, 16 or 32 bits as the samples of an image are read, equal in all images of an
            input; 0 of a volume.
        kind: ``PNG``, ``JPEG``, ``NIFTI``, ``DICOM``...
        events: ``(code, detail)`` of each conversion that reading took.
    """

    digest: str
    samples: NDArray[Any]
    gray: NDArray[np.float32]
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    modality: str
    bits: int
    depth: int
    kind: str
    events: tuple[tuple[str, str], ...] = ()


def open_picture(reference: str, readers: Sequence[PluginReader] = ()) -> Picture:
    """Return the picture of a file reference.

    Args:
        reference: of the file.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageFileError: the file is absent, damaged, or nothing that is read here; its code is
            stable.
    """
    if Path(reference.partition("::")[0]).is_dir():
        return _folder_picture(reference)
    try:
        return _image_picture(reference, readers)
    except ImageFileError as error:
        if error.code not in _MAY_BE_A_VOLUME:
            raise
        return _volume_instead(reference, error, readers)


def _folder_picture(reference: str) -> Picture:
    try:
        return volume_picture(reference)
    except ImageFileError as error:
        if error.code != "UNSUPPORTED_SHAPE":
            raise
        return _image_picture(reference)


def _volume_instead(
    reference: str, error: ImageFileError, readers: Sequence[PluginReader]
) -> Picture:
    """Return the volume; where it is none either, say what was wrong with it as an image."""
    try:
        return volume_picture(reference, readers)
    except ImageFileError as second:
        raise (error if second.code in _MAY_BE_A_VOLUME else second) from second


def _image_picture(reference: str, readers: Sequence[PluginReader] = ()) -> Picture:
    pixels, facts = read_pixels(reference, readers)
    gray = pixels.astype(np.float32)
    return Picture(
        digest=pixel_digest(pixels),
        samples=pixels,
        gray=gray.mean(-1) if gray.ndim == 3 else gray,
        shape=(pixels.shape[0], pixels.shape[1]),
        spacing=facts.spacing,
        modality=facts.modality,
        bits=facts.stored_bits or facts.bits,
        depth=facts.bits,
        kind=facts.format,
        events=facts.events,
    )


def volume_picture(reference: str, readers: Sequence[PluginReader] = ()) -> Picture:
    """Return the picture of a volume.

    Raises:
        ImageFileError: as `medfuse.data.volume_file.read_volume`.
    """
    volume = read_volume(reference, readers)
    own = reader_of(reference, readers)
    return Picture(
        digest=volume_digest(volume.pixels, volume.affine),
        samples=volume.pixels,
        gray=middle_slices(volume.pixels, volume.affine),
        shape=volume.header.shape,
        spacing=volume.header.spacing,
        modality=volume.modality,
        bits=volume.bits,
        depth=0,
        kind=volume_kind(reference) if own is None else own.name,
        events=volume.events,
    )


def volume_kind(reference: str) -> str:
    """Return the file type of a volume."""
    path = reference.partition("::")[0]
    if is_dicom(path):
        return "DICOM"
    suffix = "".join(Path(path).suffixes[-2:]).lower()
    known = {
        ".nii": "NIFTI", ".gz": "NIFTI", ".nrrd": "NRRD", ".mha": "METAIMAGE", ".mhd": "METAIMAGE",
        ".npy": "NPY", ".npz": "NPY",
    }  # fmt: skip
    return next((kind for end, kind in known.items() if suffix.endswith(end)), "TIFF")


def displayed(picture: Picture) -> NDArray[np.float32]:
    """Return ``gray`` in [0, 1]: 8-bit as it is, anything else between its percentiles."""
    if picture.bits == 8 and picture.samples.dtype == np.uint8:
        return np.asarray(picture.gray / np.float32(255))
    low, high = np.percentile(picture.gray, _SHOWN_PERCENTILES)
    scaled = (picture.gray - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)


def quantization(reference: str) -> float:
    """Return the mean of a JPEG's quantization tables (coarser is larger); 0 without any."""
    try:
        with Image.open(reference) as image:
            tables = getattr(image, "quantization", None) or {}
    except _DECODER_ERRORS:
        return 0.0
    values = [value for table in tables.values() for value in table]
    return float(np.mean(values)) if values else 0.0


def stored_bytes(reference: str) -> int:
    """Return the size of the file, of a folder's files; 0 for an image inside an archive."""
    path, _, inside = reference.partition("::")
    place = Path(path)
    if inside and not place.is_dir():
        return 0
    if place.is_dir():
        return sum(item.stat().st_size for item in place.rglob("*") if item.is_file())
    beside = [Path(metaimage_data_file(path))] if place.suffix.lower() == HEADER_ENDING else []
    return sum(file.stat().st_size for file in {place, *beside})
