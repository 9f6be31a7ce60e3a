"""Read one DICOM series or picture: the one door for training and serving."""

from __future__ import annotations

from pathlib import Path

from .dataset import integer
from .facts import DicomImage, Listing, Series
from .kinds import is_volume
from .picture import read_picture, read_slice
from .refusal import DicomError, refusal
from .scan import list_series
from .series import load_series, require_complete
from .volume import read_volume

__all__ = ["DicomImage", "read_dicom", "read_series"]

_OTHER_OBJECTS = {"DICOMDIR", "LOCALIZER", "NOT_AN_IMAGE", "SECONDARY_CAPTURE"}
_NOT_ASKED_FOR = {"NOT_DICOM", "NOT_REGULAR"}


def read_dicom(reference: str) -> DicomImage:
    """Return the one image that ``PATH`` or ``PATH::KEY`` names.

    A folder must hold one diagnostic series (``KEY`` of `list_series` chooses among several): a
    volume, or one projection. A file is an image of its own: a projection, a multi-frame volume,
    or one slice as a picture.

    Raises:
        DicomError: with a code of `refusal.REFUSALS`; never a volume that may be wrong.
    """
    path, _, key = str(reference).partition("::")
    listing = list_series(path)
    series = _chosen(listing, key)
    image = read_series(series, alone=Path(path).is_file())
    left_out = tuple(("SKIPPED", f"{found.code} {found.count}") for found in listing.skipped)
    return DicomImage(**{**vars(image), "events": (*left_out, *image.events)})


def read_series(series: Series, alone: bool = False) -> DicomImage:
    """Return the image of a listed series; ``alone`` reads a single slice as a picture.

    Raises:
        DicomError: as `read_dicom`.
    """
    instances = load_series(series.files)
    header = instances[0].header
    if is_volume(header):
        if alone and integer(header, "NumberOfFrames", 1) == 1:
            return read_slice(instances[0])
        if not alone:
            require_complete(instances)
        return read_volume(instances)
    if len(instances) > 1:
        raise refusal("SEVERAL_IMAGES", f"{len(instances)} of modality {series.modality}")
    return read_picture(instances[0])


def _chosen(listing: Listing, key: str) -> Series:
    if not listing.series:
        raise _nothing(listing)
    keyed = [series for series in listing.series if not key or series.key == key]
    if len(keyed) == 1:
        return keyed[0]
    several = ", ".join(f"{s.key} ({s.modality} {s.count})" for s in listing.series[:20])
    raise refusal("UNKNOWN_SERIES" if key else "AMBIGUOUS_SERIES", f"found {several}")


def _nothing(listing: Listing) -> DicomError:
    """Return the most telling error for a path without a series to read."""
    codes = {found.code: found.count for found in listing.skipped}
    found = ", ".join(f"{code} {count}" for code, count in codes.items())
    faults = set(codes) - _OTHER_OBJECTS - _NOT_ASKED_FOR
    if len(faults) == 1 and not set(codes) & _OTHER_OBJECTS:
        return refusal(faults.pop(), found)
    return refusal("NOT_DIAGNOSTIC" if set(codes) & _OTHER_OBJECTS else "NO_IMAGES", found)
